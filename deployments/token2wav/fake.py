"""A synthesizer that gives audio tokens as samples: for tests and for writing clients."""

import time

import numpy as np

from deployments.chunker import Chunk, ChunkSchedule
from deployments.errors import ServerFull, UnknownVoice
from deployments.messages import SAMPLES_PER_AUDIO_TOKEN, SpokenSoFar, Voice
from deployments.priority import Priority, places_for
from deployments.stages import LONGEST_GPU_STEP_S, Steps
from deployments.token2wav.observer import SynthesisObserver, Unobserved


class FakeStream:
    """Each token becomes 960 samples of its own value: streams that mix can be seen."""

    def __init__(
        self, synthesizer: "FakeSynthesizer", schedule: ChunkSchedule, priority: Priority = "live"
    ) -> None:
        self._synthesizer = synthesizer
        self.schedule = schedule
        self._priority: Priority = priority
        self.speed = 1.0
        self.step_began_s: float | None = None
        self._open = True

    def settle_schedule(self) -> ChunkSchedule:
        return self.schedule

    def play_at(self, speed: float) -> None:
        self.speed = speed

    async def synthesize(self, chunk: Chunk) -> bytes:
        self._synthesizer.chunks_made += 1
        self.step_began_s = time.monotonic()
        seen = len(chunk.tokens)
        consumed = chunk.tokens[: seen if chunk.last else seen - self.schedule.lookahead]
        return np.repeat(np.array(consumed, dtype="<i2"), SAMPLES_PER_AUDIO_TOKEN).tobytes()

    def close(self) -> None:
        if self._open:
            self._open = False
            self._synthesizer.left(self._priority)


class FakeSynthesizer:
    """Knows the configured names and `default`; takes any recording."""

    longest_step_s = LONGEST_GPU_STEP_S

    def __init__(
        self,
        schedule: ChunkSchedule,
        voices: tuple[str, ...] = (),
        max_streams: int | None = None,
        observer: SynthesisObserver | None = None,
    ) -> None:
        self._schedule = schedule
        self._voices = ("default", *voices)
        self._max_streams = 64 if max_streams is None else max_streams
        self._observer = observer or Unobserved()
        self.open_streams = 0
        self.chunks_made = 0
        self._in_background = 0

    async def start(self) -> None:
        pass

    async def check_health(self) -> None:
        pass

    def close(self) -> None:
        pass

    def steps(self) -> Steps:
        """A step is a chunk, and takes no time."""
        return Steps(self.chunks_made)

    @property
    def places(self) -> int:
        return self._max_streams

    def headroom(self) -> float:
        return 1 - self.open_streams / self.places

    def voices(self) -> tuple[str, ...]:
        return self._voices

    async def prepare(self, voice: Voice) -> None:
        if isinstance(voice, str) and voice not in self._voices:
            raise UnknownVoice(voice, known=self._voices)

    async def open(
        self,
        voice: Voice,
        *,
        streamed: bool = True,
        priority: Priority = "live",
        so_far: SpokenSoFar | None = None,
    ) -> FakeStream:
        await self.prepare(voice)
        full = priority == "background" and self._in_background >= places_for(
            priority, self._max_streams
        )
        if full or self.open_streams >= self._max_streams:
            self._observer.stream_refused("memory")
            raise ServerFull()
        self.open_streams += 1
        self._in_background += priority == "background"
        self._observer.stream_opened(self.open_streams)
        schedule = so_far.schedule if so_far else self._schedule
        return FakeStream(self, schedule, priority)

    def left(self, priority: Priority) -> None:
        """A stream of that priority has ended."""
        self.open_streams -= 1
        self._in_background -= priority == "background"
        self._observer.stream_closed(self.open_streams)
