"""Many streams, one engine: every step serves all streams that are ready.

The engine is synchronous and knows no requests; it runs in one thread of its own. Nothing
waits on a timer: a step takes what is there when the step before has ended.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from deployments.chunker import Chunk
from deployments.errors import ConfigError, EngineFailed, ServerFull, UnknownVoice
from deployments.messages import ReferenceAudio, Voice
from deployments.token2wav.engine import PreparedVoice, StepInput, StepOutput, StreamState

T = TypeVar("T")
DEFAULT_VOICE = "default"


class StepEngine(Protocol):
    """What `Token2WavEngine` and `ReferenceEngine` have in common."""

    codebook_size: int

    def prepare_voice(self, data: bytes) -> PreparedVoice: ...
    def open(self, voice: PreparedVoice) -> StreamState: ...
    def step(self, rows: list[StepInput]) -> list[StepOutput]: ...


@dataclass(slots=True)
class _Row:
    """One stream's chunk, waiting for a step."""

    input: StepInput
    output: asyncio.Future[StepOutput]


class BatchingSynthesizer:
    """Implements `deployments.pipeline.Synthesizer` over a batched engine."""

    def __init__(
        self,
        load: Callable[[], StepEngine],
        voice_files: Mapping[str, Path],
        *,
        max_batch: int,
        max_streams: int,
        cached_voices: int,
    ) -> None:
        """`load` runs in the engine's thread; `voice_files` has `default` and every name."""
        self._load = load
        self._voice_files = voice_files
        self._max_batch = max_batch
        self._max_streams = max_streams
        self._cached_voices = cached_voices
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="token2wav")
        self._named: dict[str, PreparedVoice] = {}
        self._recorded: OrderedDict[bytes, asyncio.Task[PreparedVoice]] = OrderedDict()
        self._ready: asyncio.Queue[_Row] = asyncio.Queue()
        self._engine: StepEngine | None = None
        self._stepping: asyncio.Task[None] | None = None
        self._open_streams = 0

    async def start(self) -> None:
        """Load the engine, prepare every configured voice and run one stream through."""
        self._engine = engine = await self._in_thread(self._load)
        for name, path in self._voice_files.items():
            try:
                data = path.read_bytes()
            except OSError as error:
                raise ConfigError(f"the voice {name!r} cannot be read: {error}") from error
            self._named[name] = await self._in_thread(partial(engine.prepare_voice, data))
        self._stepping = asyncio.create_task(self._step_forever(engine))
        warm_up = await self.open(None)
        for last in (False, True):
            await warm_up.synthesize(Chunk(tuple(range(28)), last=last))
        warm_up.close()

    def voices(self) -> tuple[str, ...]:
        return tuple(self._voice_files)

    async def open(self, voice: Voice) -> "BatchedStream":
        if self._open_streams >= self._max_streams:
            raise ServerFull()
        self._open_streams += 1  # before any await: two callers must not take one place
        try:
            prepared = await self._prepared(voice)
            state = self._running_engine().open(prepared)
        except BaseException:
            self._open_streams -= 1
            raise
        return BatchedStream(self, state)

    async def check_health(self) -> None:
        if self._stepping is None or self._stepping.done():
            raise EngineFailed("Token2Wav's engine has stopped")

    def close(self) -> None:
        if self._stepping is not None:
            self._stepping.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    @property
    def open_streams(self) -> int:
        """Streams that are open now."""
        return self._open_streams

    async def step(self, row: StepInput) -> StepOutput:
        """Run one stream's chunk in the next batch."""
        for token in row.tokens:
            if not 0 <= token < self._running_engine().codebook_size:
                raise ValueError(f"audio token {token} is outside the codebook")
        output: asyncio.Future[StepOutput] = asyncio.get_running_loop().create_future()
        self._ready.put_nowait(_Row(row, output))
        return await output

    def stream_closed(self) -> None:
        self._open_streams -= 1

    async def _step_forever(self, engine: StepEngine) -> None:
        while True:
            rows = [await self._ready.get()]
            while len(rows) < self._max_batch and not self._ready.empty():
                rows.append(self._ready.get_nowait())
            rows = [row for row in rows if not row.output.cancelled()]
            if rows:
                await self._step(engine, rows)

    async def _step(self, engine: StepEngine, rows: list[_Row]) -> None:
        try:
            outputs = await self._in_thread(lambda: engine.step([row.input for row in rows]))
        except Exception as error:
            for row in rows:
                if not row.output.done():
                    row.output.set_exception(EngineFailed(f"a synthesis step failed: {error}"))
            return
        for row, output in zip(rows, outputs, strict=True):
            if not row.output.done():
                row.output.set_result(output)

    async def _prepared(self, voice: Voice) -> PreparedVoice:
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

    def __init__(self, synthesizer: BatchingSynthesizer, state: StreamState) -> None:
        self._synthesizer = synthesizer
        self._state: StreamState | None = state

    async def synthesize(self, chunk: Chunk) -> bytes:
        if self._state is None:
            raise RuntimeError("the stream is closed")
        output = await self._synthesizer.step(StepInput(self._state, chunk.tokens, chunk.last))
        self._state = output.state
        return output.pcm

    def close(self) -> None:
        if self._state is not None:
            self._state = None
            self._synthesizer.stream_closed()
