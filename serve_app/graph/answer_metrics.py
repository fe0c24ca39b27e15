"""The graph with metrics of its answers, as clients get them."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass

from deployments import metrics
from deployments.errors import RequestError, ServerFull
from deployments.messages import (
    OUTPUT_SAMPLE_RATE_HZ,
    FinishReason,
    SpeechDelta,
    SpeechRequest,
    ThinkerDelta,
    ThinkerRequest,
    Usage,
)
from deployments.metrics import Recorder
from deployments.ray_failures import FULL, unwrap
from serve_app.graph.backend import Backend, ForwardingBackend
from serve_app.graph.playback import Playback

PCM_BYTES_PER_S = 2 * OUTPUT_SAMPLE_RATE_HZ  # s16le, mono


class MeasuredBackend(ForwardingBackend):
    """A `Backend` that records how its answers went.

    For each delta of a spoken answer it adds up a few numbers. It records once at the first sound,
    and the rest at the end.
    """

    def __init__(
        self, backend: Backend, recorder: Recorder, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(backend)
        self._recorder = recorder
        self._now_s = now_s

    async def text(self, request: ThinkerRequest) -> AsyncGenerator[ThinkerDelta]:
        with self._recorded("text") as answer:
            async with aclosing(self._backend.text(request)) as deltas:
                async for delta in deltas:
                    answer.take(delta.finish_reason, delta.usage)
                    yield delta

    async def speech(self, request: SpeechRequest) -> AsyncGenerator[SpeechDelta]:
        began_s = asked_s = self._now_s()
        is_live = request.thinker.priority == "live"
        is_heard = is_live and request.streamed
        playback = Playback()
        with self._recorded("speech") as answer:
            try:
                async with aclosing(self._backend.speech(request)) as deltas:
                    async for delta in deltas:
                        came_s = self._now_s()
                        if is_heard and delta.pcm and playback.plays_until_s is None:
                            self._recorder.record(metrics.FIRST_SOUND, came_s - began_s)
                        sound_s = len(delta.pcm) / PCM_BYTES_PER_S / request.speed
                        playback.take(sound_s, asked_s, came_s)
                        answer.take(delta.finish_reason, delta.usage)
                        yield delta
                        asked_s = self._now_s()
            finally:
                if is_live and playback.played_s:
                    self._record_playback(playback, answer, is_heard)

    def _record_playback(self, playback: Playback, answer: "_Answer", is_heard: bool) -> None:
        record = self._recorder.record
        if answer.end == "done":
            record(metrics.REAL_TIME_FACTOR, playback.waited_s / playback.played_s)
        if is_heard:
            record(metrics.UNDERRUNS, playback.underruns)
            record(metrics.SILENCE, playback.silence_s)

    @contextmanager
    def _recorded(self, reply: str) -> Iterator["_Answer"]:
        """Record how the block's answer ends."""
        answer = _Answer()
        end = "left"
        try:
            yield answer
            end = "failed"  # without a `finish_reason`
        except (GeneratorExit, asyncio.CancelledError):
            raise
        except Exception as error:
            end = self._end_by(unwrap(error))
            raise
        finally:
            self._recorder.record(metrics.ANSWERS, reply=reply, end=answer.end or end)
            if answer.usage is not None:
                self._record_tokens(answer.usage)

    def _end_by(self, error: BaseException) -> str:
        if isinstance(error, FULL):
            reason = error.reason if isinstance(error, ServerFull) else "full"
            self._recorder.record(metrics.REFUSED, reason=reason)
            return "refused"
        return "invalid" if isinstance(error, RequestError) else "failed"

    def _record_tokens(self, usage: Usage) -> None:
        for kind, tokens in (
            ("prompt", usage.prompt_tokens),
            ("cached", usage.cached_prompt_tokens),
            ("completion", usage.completion_tokens),
            ("audio", usage.audio_tokens),
        ):
            self._recorder.record(metrics.TOKENS, tokens, kind=kind)


@dataclass(slots=True)
class _Answer:
    """What is known of an answer's end."""

    end: str | None = None
    usage: Usage | None = None

    def take(self, finish_reason: FinishReason | None, usage: Usage | None) -> None:
        if finish_reason is not None:
            self.end = "failed" if finish_reason == "abort" else "done"
            self.usage = usage
