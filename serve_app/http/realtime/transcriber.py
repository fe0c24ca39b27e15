"""What the user said, written down: a second request for each turn, beside the answer."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractContextManager, aclosing, nullcontext
from typing import Any

import numpy as np

from deployments.messages import (
    INPUT_SAMPLE_RATE_HZ,
    SamplingOptions,
    ThinkerDelta,
    ThinkerRequest,
    Usage,
)
from deployments.thinker import tasks
from serve_app.graph.answers import uncut
from serve_app.graph.backend import Backend
from serve_app.http.access.key_limits import Allowance
from serve_app.http.errors import log_if_ours
from serve_app.http.realtime import server_events as events
from serve_app.http.realtime.items import MessageItem, Recording
from serve_app.http.realtime.outbox import ClientTooSlow, Outbox
from serve_app.http.realtime.refusals import error_of
from serve_app.http.realtime.session_types import Transcription
from serve_app.http.transcription.length import most_tokens
from serve_app.http.transcription.segments import segments
from serve_app.sound.recording_pieces import Cutting, Piece, PieceCutter
from serve_app.sound.voice_activity import shared_model

MOST_AT_ONCE = 4  # of one session; more wait


class Transcriber:
    """Writes down the recordings of one session."""

    def __init__(
        self,
        backend: Backend,
        allowance: Allowance | None,
        outbox: Outbox,
        fail: Callable[[BaseException], None],
    ) -> None:
        """`fail` ends the session."""
        self._backend = backend
        self._allowance = allowance
        self._outbox = outbox
        self._fail = fail
        self._places = asyncio.Semaphore(MOST_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, item: MessageItem, how: Transcription, request_id: str) -> None:
        """Write down what `item` says, in a task."""
        recording = item.content[0]
        assert isinstance(recording, Recording)
        samples = recording.samples  # of which the conversation may forget
        task = asyncio.create_task(self._run(item.id, recording, samples, how, request_id))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Stop all of it."""
        tasks_left = list(self._tasks)
        for task in tasks_left:
            task.cancel()
        await asyncio.gather(*tasks_left, return_exceptions=True)

    async def _run(
        self,
        item_id: str,
        recording: Recording,
        samples: np.ndarray,
        how: Transcription,
        request_id: str,
    ) -> None:
        try:
            async with self._places:
                with self._counted():
                    text, usage = await self._write(item_id, samples, how, request_id)
            recording.transcript = text.strip()
            self._put("completed", item_id, transcript=recording.transcript, usage=told(usage))
        except Exception as error:
            log_if_ours(error)
            self._put("failed", item_id, error=error_of(error))

    def _put(self, kind: str, item_id: str, **fields: Any) -> None:
        try:
            self._outbox.put(events.transcription(kind, item_id, **fields))
        except ClientTooSlow as error:
            self._fail(error)

    def _counted(self) -> AbstractContextManager[None]:
        return self._allowance.stream() if self._allowance else nullcontext()

    async def _write(
        self, item_id: str, samples: np.ndarray, how: Transcription, request_id: str
    ) -> tuple[str, Usage]:
        """The whole transcript, which is sent as it comes, and what it has used."""
        text, usage = "", Usage(0, 0, answers=0)
        async with aclosing(self._written(samples, how, request_id)) as pieces:
            async for piece, of_piece in pieces:
                text += piece
                usage += of_piece or Usage(0, 0, answers=0)
                if piece:
                    self._put("delta", item_id, delta=piece)
        return text, usage

    async def _written(
        self, samples: np.ndarray, how: Transcription, request_id: str
    ) -> AsyncGenerator[tuple[str, Usage | None]]:
        """The transcript piece by piece, and what each piece has used."""

        def ask(piece: Piece, number: int, temperature: float) -> AsyncGenerator[ThinkerDelta]:
            return self._ask(piece.samples, how, f"{request_id}/{number}", temperature)

        if len(samples) <= Cutting().longest_s * INPUT_SAMPLE_RATE_HZ:
            async with aclosing(self._ask(samples, how, request_id)) as deltas:
                async for delta in deltas:
                    yield delta.text, delta.usage
            return
        async with aclosing(segments(_pieces(samples), ask, None)) as found:
            async for segment in found:
                yield segment.text, segment.usage

    def _ask(
        self, samples: np.ndarray, how: Transcription, request_id: str, temperature: float = 0.0
    ) -> AsyncGenerator[ThinkerDelta]:
        limit = most_tokens(len(samples) / INPUT_SAMPLE_RATE_HZ)
        sampling = SamplingOptions(temperature=temperature, max_tokens=limit)
        messages = tasks.transcribe(samples, how.language, _prompt(how))
        return uncut(self._backend.text(ThinkerRequest(request_id, messages, sampling=sampling)))


def told(usage: Usage) -> dict[str, Any]:
    """What a transcript has used, under OpenAI's names."""
    return {
        "type": "tokens",
        "input_tokens": usage.prompt_tokens,
        "output_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def _prompt(how: Transcription) -> str | None:
    given: list[Any] = [how.prompt, *(how.keywords or ())]
    return " ".join(text for text in given if text) or None


async def _pieces(samples: np.ndarray) -> AsyncGenerator[Piece]:
    """A long recording, cut in silence beside the event loop."""

    def cut() -> list[Piece]:
        cutter = PieceCutter(shared_model(), Cutting())
        return [*cutter.push(samples), *cutter.finish()]

    for piece in await asyncio.to_thread(cut):
        yield piece
