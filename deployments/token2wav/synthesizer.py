"""Many streams, one engine: every step serves all streams that are ready.

The engine is synchronous and knows no requests; it runs in one thread of its own. When a step
has ended, `schedule` says who goes into the next, or that company is worth waiting for.
"""

import asyncio
import contextlib
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from deployments.chunker import Chunk, Chunker, ChunkSchedule
from deployments.errors import (
    ConfigError,
    EngineFailed,
    RequestError,
    ServerFull,
    UnknownVoice,
)
from deployments.messages import OUTPUT_SAMPLE_RATE_HZ, ReferenceAudio, Voice
from deployments.token2wav.admission import Admission
from deployments.token2wav.canary import Canary, canary_tokens
from deployments.token2wav.engine import StepInput
from deployments.token2wav.schedule import Playback, held_until_s, next_batch, next_due_s

T = TypeVar("T")
DEFAULT_VOICE = "default"
FAILED_STEPS_ARE_DEAD = 3  # in a row: a GPU that has faulted fails every step from then on
BROKEN_STREAMS_ARE_DEAD = 3  # in a row: what is wrong with one stream ends with it
logger = logging.getLogger(__name__)
BYTES_PER_S = 2 * OUTPUT_SAMPLE_RATE_HZ


class EngineOutput(Protocol):
    """What a step made of one stream's chunk."""

    @property
    def pcm(self) -> bytes: ...
    @property
    def state(self) -> Any: ...
    @property
    def finite(self) -> bool:
        """Whether every sample is a number. If not, the stream has come to its end."""


class StepEngine(Protocol):
    """What the engines have in common; voices and states are values of their own kind."""

    @property
    def codebook_size(self) -> int: ...
    @property
    def max_streams(self) -> int: ...

    def prepare_voice(self, data: bytes) -> Any: ...
    def open(self, voice: Any) -> Any: ...
    def close(self, state: Any) -> None:
        """Safe in any thread, also while a step has the stream."""

    def step(self, rows: Sequence[StepInput]) -> Sequence[EngineOutput]: ...


@dataclass(slots=True)
class _Row:
    """One stream's chunk, waiting for a step."""

    input: StepInput
    playback: Playback
    output: asyncio.Future[EngineOutput]
    arrived_s: float

    def is_kept_waiting(self, now_s: float) -> bool:
        """Whether its listener hears a gap for want of a step, not of tokens."""
        dry_at_s = self.playback.dry_at_s
        return (
            dry_at_s is not None and self.arrived_s <= dry_at_s < now_s and not self.output.done()
        )


class BatchingSynthesizer:
    """Implements `deployments.pipeline.Synthesizer` over a batched engine."""

    def __init__(
        self,
        load: Callable[[], StepEngine],
        voice_files: Mapping[str, Path],
        schedules: Callable[[int], ChunkSchedule],
        *,
        max_batch: int,
        max_streams: int | None,
        cached_voices: int,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`load` runs in the engine's thread; `voice_files` has `default` and every name.

        `schedules` says what an answer is cut by that begins beside so many streams.
        `max_streams` None is as many as the engine holds. `now_s` is the clock, in seconds.
        """
        self.now_s = now_s
        self._load = load
        self._voice_files = voice_files
        self._schedules = schedules
        self._max_batch = max_batch
        self._max_streams = max_streams
        self._cached_voices = cached_voices
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="token2wav")
        self._named: dict[str, Any] = {}
        self._recorded: OrderedDict[bytes, asyncio.Task[Any]] = OrderedDict()
        self._waiting: list[_Row] = []
        self._arrived = asyncio.Event()
        self._engine: StepEngine | None = None
        self._stepping: asyncio.Task[None] | None = None
        self._playbacks: set[Playback] = set()
        self._admission = Admission(max_batch)
        self._failed_steps = 0  # in a row
        self._broken_streams = 0  # in a row
        self._canary = Canary()
        self._in_step = False
        self._closed = False

    async def start(self) -> None:
        """Load the engine, prepare every configured voice and speak one answer."""
        try:
            await self._start()
        except BaseException:
            self.close()  # now: a finalizer would take the locks of threads in a collection
            raise

    async def _start(self) -> None:
        self._engine = engine = await self._in_thread(self._load)
        if self._max_streams is None:
            self._max_streams = engine.max_streams
        for name, path in self._voice_files.items():
            try:
                data = path.read_bytes()
            except OSError as error:
                raise ConfigError(f"the voice {name!r} cannot be read: {error}") from error
            try:
                self._named[name] = await self._in_thread(partial(engine.prepare_voice, data))
            except RequestError as error:
                raise ConfigError(f"the voice {name!r} ({path}): {error}") from error
        logger.info("Token2Wav: holds up to %d streams", self._max_streams)
        self._stepping = asyncio.create_task(self._step_forever(engine))
        await self._warm_up()
        await self._hear_canary(engine)

    def voices(self) -> tuple[str, ...]:
        return tuple(self._voice_files)

    async def open(self, voice: Voice) -> "BatchedStream":
        """As `Synthesizer.open`. ServerFull: no place, or no time to give it its sound."""
        engine = self._running_engine()
        now_s = self.now_s()
        playback = Playback(now_s, self._schedules(len(self._playbacks)))
        if not self._has_room(engine, playback, now_s):
            raise ServerFull()
        self._playbacks.add(playback)  # before any await: two callers must not take one place
        try:
            prepared = await self._prepared(voice)
            state = engine.open(prepared)
        except BaseException:
            self._playbacks.discard(playback)
            raise
        return BatchedStream(self, state, playback)

    def _has_room(self, engine: StepEngine, newcomer: Playback, now_s: float) -> bool:
        """Whether one more stream would leave those who are here without a gap."""
        return (
            len(self._playbacks) < (self._max_streams or engine.max_streams)
            and not any(row.is_kept_waiting(now_s) for row in self._waiting)
            and self._admission.fits(self._playbacks, newcomer, now_s)
        )

    async def check_health(self) -> None:
        if self._stepping is None or self._stepping.done():
            raise EngineFailed("Token2Wav's engine has stopped")
        if self._failed_steps >= FAILED_STEPS_ARE_DEAD:
            raise EngineFailed(f"Token2Wav's last {self._failed_steps} steps failed")
        if self._broken_streams >= BROKEN_STREAMS_ARE_DEAD:
            raise EngineFailed(f"Token2Wav's last {self._broken_streams} streams were not finite")
        if self._canary.is_due(now_s := self.now_s()) and self._has_time(now_s):
            with contextlib.suppress(ServerFull):  # others have all the places
                await self._hear_canary(self._running_engine())
        self._canary.require_alive()

    def _has_time(self, now_s: float) -> bool:
        """Whether nobody would wait for a step that begins now and that nobody listens to."""
        free_until_s = now_s + 2 * self._canary.took_s
        return not (self._waiting or self._in_step) and all(
            playback.due_at_s > free_until_s for playback in self._playbacks
        )

    async def _hear_canary(self, engine: StepEngine) -> None:
        """Speak a short answer in the default voice, beside no other."""
        state = engine.open(next(iter(self._named.values())))
        row = StepInput(state, canary_tokens(engine.codebook_size), last=True)
        began_s = self.now_s()
        try:
            (output,) = await self._in_thread(lambda: engine.step([row]))
        except Exception as error:
            raise EngineFailed("a synthesis step failed") from error
        finally:
            engine.close(state)
        if not output.finite:
            raise EngineFailed("Token2Wav's engine makes no finite samples")
        self._canary.hear(output.pcm, began_s, self.now_s())

    def close(self) -> None:
        """May be called again, also by a finalizer: then it does nothing and takes no lock."""
        if self._closed:
            return
        self._closed = True
        if self._stepping is not None:
            self._stepping.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    @property
    def open_streams(self) -> int:
        """Streams that are open now."""
        return len(self._playbacks)

    async def step(self, row: StepInput, playback: Playback) -> EngineOutput:
        """Run one stream's chunk in one of the next batches."""
        for token in row.tokens:
            if not 0 <= token < self._running_engine().codebook_size:
                raise ValueError(f"audio token {token} is outside the codebook")
        output: asyncio.Future[EngineOutput] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Row(row, playback, output, self.now_s()))
        self._arrived.set()
        return await output

    def close_stream(self, state: Any, playback: Playback) -> None:
        """Give a stream's place back; it may still be in a step."""
        self._playbacks.discard(playback)
        self._arrived.set()  # fewer open streams: who waits for company may have waited enough
        self._running_engine().close(state)

    async def _warm_up(self) -> None:
        """Speak an answer that nobody hears: every size of chunk, the longest last one too."""
        schedule = self._schedules(0)
        chunker = Chunker(schedule)
        # one token short of a second steady chunk
        tokens = sum(schedule.ramp) + 2 * schedule.steady + schedule.lookahead - 1
        stream = await self.open(None)
        for chunk in chunker.push([0] * tokens):
            await stream.synthesize(chunk)
        if last := chunker.finish():
            await stream.synthesize(last)
        stream.close()

    async def _step_forever(self, engine: StepEngine) -> None:
        held_since_s: float | None = None  # when a step could have started
        while True:
            self._arrived.clear()
            self._waiting = [row for row in self._waiting if not row.output.cancelled()]
            now_s = self.now_s()
            batch = next_batch(
                self._waiting, now_s, open_streams=len(self._playbacks), max_batch=self._max_batch
            )
            if not batch:
                held_since_s = None
                until_s = next_due_s(self._waiting)
            else:
                held_since_s = now_s if held_since_s is None else held_since_s
                until_s = held_until_s(self._waiting, held_since_s, now_s)
                all_here = len(self._waiting) >= min(len(self._playbacks), self._max_batch)
                if all_here or until_s <= now_s:
                    held_since_s = None
                    taken = {id(row) for row in batch}
                    self._waiting = [row for row in self._waiting if id(row) not in taken]
                    await self._step(engine, batch)
                    continue
            with contextlib.suppress(TimeoutError):
                within_s = None if until_s is None else max(until_s - now_s, 0)
                await asyncio.wait_for(self._arrived.wait(), within_s)

    async def _step(self, engine: StepEngine, rows: list[_Row]) -> None:
        began_s = self.now_s()
        self._in_step = True
        try:
            outputs = await self._in_thread(lambda: engine.step([row.input for row in rows]))
        except Exception:
            logger.exception("a synthesis step of %d streams failed", len(rows))
            self._failed_steps += 1
            for row in rows:
                if not row.output.done():
                    row.output.set_exception(EngineFailed("a synthesis step failed"))
            return
        finally:
            self._in_step = False
        self._failed_steps = 0
        ended_s = self.now_s()
        self._admission.note_step(len(rows), ended_s - began_s, ended_s)
        self._hand_over(rows, outputs)

    def _hand_over(self, rows: list[_Row], outputs: Sequence[EngineOutput]) -> None:
        broken = sum(not output.finite for output in outputs)
        self._broken_streams = self._broken_streams + broken if broken == len(outputs) else 0
        if broken:
            logger.error("%d of %d streams of a step were not finite", broken, len(rows))
        for row, output in zip(rows, outputs, strict=True):
            if row.output.done():
                continue
            if output.finite:
                row.output.set_result(output)
            else:
                row.output.set_exception(EngineFailed("the sound of this answer is not finite"))

    async def _prepared(self, voice: Voice) -> Any:
        if not isinstance(voice, ReferenceAudio):
            name = voice or DEFAULT_VOICE
            if name not in self._named:
                raise UnknownVoice(name, known=self.voices())
            return self._named[name]
        key = hashlib.sha256(voice.data).digest()
        task = self._recorded.get(key)
        if task is None:
            engine = self._running_engine()
            prepare = self._in_thread(lambda: engine.prepare_voice(voice.data))
            task = self._recorded[key] = asyncio.create_task(prepare)
            if len(self._recorded) > self._cached_voices:
                self._recorded.popitem(last=False)
        self._recorded.move_to_end(key)
        try:
            return await asyncio.shield(task)  # others may wait for the same voice
        except Exception:
            self._recorded.pop(key, None)
            raise

    def _running_engine(self) -> StepEngine:
        if self._engine is None:
            raise EngineFailed("Token2Wav's engine has not started")
        return self._engine

    async def _in_thread(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)


class BatchedStream:
    """Implements `deployments.pipeline.SpeechStream`; holds nothing but its stream's state."""

    def __init__(self, synthesizer: BatchingSynthesizer, state: Any, playback: Playback) -> None:
        self._synthesizer = synthesizer
        self._state = state
        self._playback = playback
        self._open = True

    @property
    def schedule(self) -> ChunkSchedule:
        return self._playback.schedule

    async def synthesize(self, chunk: Chunk) -> bytes:
        if not self._open:
            raise RuntimeError("the stream is closed")
        row = StepInput(self._state, chunk.tokens, chunk.last)
        output = await self._synthesizer.step(row, self._playback)
        self._state, pcm = output.state, output.pcm
        self._playback.sent(len(pcm) / BYTES_PER_S, self._synthesizer.now_s())
        return pcm

    def close(self) -> None:
        if self._open:
            self._open = False
            self._synthesizer.close_stream(self._state, self._playback)
