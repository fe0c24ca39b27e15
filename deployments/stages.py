"""What the deployment of each stage needs of its engine.

The engines are known by protocol only, so that a fake one runs the whole graph.
"""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from deployments.chunker import Chunk, ChunkSchedule
from deployments.messages import SpokenSoFar, ThinkerDelta, ThinkerRequest, Voice
from deployments.priority import Priority

# No step takes longer, unless its engine is stuck. A GPU's take milliseconds (docs/figures.md). A
# CPU's can be that of a long prompt, on cores that other processes use too.
LONGEST_GPU_STEP_S, LONGEST_CPU_STEP_S = 2.0, 60.0


@dataclass(frozen=True, slots=True)
class Steps:
    """How far an engine is with its work."""

    made: int = 0
    """Steps that have ended."""

    under_way_s: float = 0.0
    """How long the step under way has taken so far; 0 where there is nothing to do."""


class ThinkerEngine(Protocol):
    """What the Thinker's deployment needs of its engine."""

    async def start(self) -> None:
        """Load, warm up, and return when the first request can be served at full speed."""

    def generate(self, request: ThinkerRequest) -> AsyncGenerator[ThinkerDelta]:
        """Answer one turn. Closing the generator aborts the request."""

    def active_requests(self) -> int:
        """Requests that are neither finished nor aborted."""

    def headroom(self) -> float:
        """The share of the batch or of the cache that is free, whichever is less.

        Below 0 where requests wait for a place in the batch.
        """

    @property
    def longest_step_s(self) -> float:
        """An engine that is in a step for longer is stuck."""

    def steps(self) -> Steps:
        """How far it is. An engine that hangs stays in its step."""

    async def check_health(self) -> None:
        """Raise EngineFailed when no request can be served any more."""

    def close(self) -> None:
        """Free processes and memory."""


class SpeechStream(Protocol):
    """The synthesis of one answer. Chunks are handed over in order, one at a time."""

    @property
    def schedule(self) -> ChunkSchedule:
        """What this answer is cut by."""

    def settle_schedule(self) -> ChunkSchedule:
        """`schedule`, chosen anew for the load of this moment; called once, before any chunk."""

    def play_at(self, speed: float) -> None:
        """Have sound in time for a listener who hears `speed` seconds of it in one."""

    @property
    def step_began_s(self) -> float | None:
        """When the step of the newest chunk began, of `time.monotonic`; None before the first."""

    async def synthesize(self, chunk: Chunk) -> bytes:
        """The next piece of PCM, s16le at 24 kHz; all of it has come after the last chunk."""

    def close(self) -> None:
        """Give back what the stream holds, finished or not. May be called twice."""


class StreamOpener(Protocol):
    """What a spoken answer needs of Token2Wav's engine."""

    async def open(
        self,
        voice: Voice,
        *,
        streamed: bool = True,
        priority: Priority = "live",
        so_far: SpokenSoFar | None = None,
    ) -> SpeechStream:
        """Begin a stream in `voice`; one that is not `streamed` has no listener until it ends.

        One in the `background` has none either, and takes only the time and the memory that the
        listeners of others leave.

        With `so_far` the stream is made again from its beginning, by the schedule that it had. Its
        listener has those samples, and the stream is not refused for want of time.

        Raises:
            UnknownVoice, AudioUnreadable, ReferenceAudioUnfit, VoiceUnusable: as they say.
            VoiceStoreFailed: an uploaded voice cannot be read.
            ServerFull: there is no memory for one more, or no time.
        """


class Synthesizer(StreamOpener, Protocol):
    """What Token2Wav's deployment needs of its engine."""

    async def start(self) -> None:
        """Load, warm up, and return when the first request can be served at full speed."""

    @property
    def open_streams(self) -> int:
        """Streams that are open now."""

    @property
    def places(self) -> int:
        """Streams that there is memory for."""

    def headroom(self) -> float:
        """The share of the places or of the time that is free, whichever is less.

        1 where nothing is open. Below 0 where the chunks that are needed cannot be in time.
        """

    @property
    def longest_step_s(self) -> float:
        """An engine that is in a step for longer is stuck."""

    def steps(self) -> Steps:
        """How far it is. An engine that hangs stays in its step."""

    def voices(self) -> tuple[str, ...]:
        """The names of the configured voices, the default one first."""

    async def prepare(self, voice: Voice) -> None:
        """Make the first answer in `voice` begin as soon as in a configured one.

        Raises:
            UnknownVoice, AudioUnreadable, ReferenceAudioUnfit, VoiceUnusable: as they say.
            VoiceStoreFailed: an uploaded voice cannot be read.
            ServerFull: there is no memory for one more.
        """

    async def check_health(self) -> None:
        """Raise EngineFailed when no stream can be served any more."""

    def close(self) -> None:
        """Free threads and memory."""
