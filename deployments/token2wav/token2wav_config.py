"""Token2Wav's section of the configuration."""

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from deployments.chunker import ChunkSchedule
from deployments.settings import Settings, StageSettings


class ReferenceAudioLimits(Settings):
    """How long a voice recording may be; 3 to 10 s of clean speech are best."""

    min_s: float = Field(default=1.0, ge=0.2)  # the flow needs three tokens
    max_s: float = Field(default=30.0, le=30)  # the speech tokenizer's positions end at 30 s


class GpuMemory(Settings):
    """Of the native engine on a GPU. At start it logs how many streams these hold."""

    memory_gb: float | None = Field(default=None, gt=0)
    """For the state of streams and voices, in GiB; weights and 3 GiB of work space come on top.

    None: all that the GPU has free when the replica starts. Where the replica shares the GPU
    (`num_gpus` below 1 in its `ray_actor_options`) it takes no more than its share, and what else
    runs there must keep to its own.
    """

    history_s: float = Field(default=40.0, ge=4)
    """The least that a stream's encoder sees of the stream's own speech, in seconds."""

    resident_voices: int = Field(default=4, ge=1)
    """The number of voices that have memory beside all streams, configured or of requests.

    Further voices use memory that no stream needs at the moment. A voice that lost its memory to
    a stream takes 0.1 s to be prepared again."""


ChunkTokens = Annotated[int, Field(ge=1)]


class ChunkSizes(Settings):
    """Sizes of the streamed chunks, in audio tokens of 40 ms: `ChunkSchedule` says what they do.

    How many more tokens a chunk sees is the checkpoint's to say.
    """

    ramp: tuple[ChunkTokens, ...] = ChunkSchedule().ramp
    """The first chunks, one by one."""

    steady: ChunkTokens = ChunkSchedule().steady
    """All later ones."""


class BusyStart(Settings):
    """How an answer begins while many others are spoken: later, and with more sound at once.

    A busy server has no time for many small chunks, and the sound of a first chunk must last
    until the second one comes.
    """

    streams: int = Field(default=96, ge=1)
    """The number of open streams that makes a server busy."""

    ramp: tuple[ChunkTokens, ...] = (13, 12, 16, 20)
    """In place of `chunks.ramp`, unless that begins with as large a chunk."""


GPU_QUIET_STREAMS = 4  # a step of so few rows takes 10 to 15 ms there


class QuietStart(Settings):
    """How an answer begins while few others are spoken: sooner, and with less sound at once.

    The sound of the first chunk, 40 ms, must last until the second one comes.
    """

    streams: int | None = Field(default=None, ge=0)
    """An answer begins so while fewer streams than these are open.

    None: 4 on a GPU, and 0 elsewhere, where a step takes longer than 40 ms."""

    ramp: Annotated[tuple[ChunkTokens, ...], Field(min_length=1)] = (5, 4, 8, 12, 16, 20)
    """In place of `chunks.ramp`, unless that begins with as small a chunk."""


class Token2WavConfig(StageSettings):
    """Settings of the Token2Wav stage."""

    engine: Literal["native", "reference", "fake"] = "native"
    """`reference` runs the official package, one stream at a time; `fake` makes a tone."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """On a GPU the native engine keeps all streams' state in place and replays CUDA graphs."""

    dtype: Literal["auto", "float32", "float16"] = "auto"
    """Of the flow; `auto` is float16 on a GPU and float32 on a CPU."""

    chunks: ChunkSizes = ChunkSizes()

    busy: BusyStart = BusyStart()

    quiet: QuietStart = QuietStart()

    max_batch: int = Field(default=32, ge=1)
    """The most streams that one synthesis step serves."""

    max_streams: int | None = Field(default=None, ge=1)
    """The most streams that are open at once; one more is refused as `ServerFull`.

    On a GPU it also bounds the memory: no more is taken than these streams need. None: as many as
    fit on a GPU, 64 on a CPU."""

    gpu: GpuMemory = GpuMemory()
    """How the native engine divides a GPU's memory."""

    default_voice: str | None = None
    """A recording, in place of `STEP_AUDIO2_DEFAULT_PROMPT_WAV`, the checkpoint's and ours."""

    voices: dict[str, str] = Field(default_factory=dict)
    """Names that requests may use, each with a recording."""

    reference_audio: ReferenceAudioLimits = ReferenceAudioLimits()

    cached_voices: int = Field(default=64, ge=1)
    """How many recordings of requests stay prepared, the last used ones."""

    seed: int = 0
    """Of all noise, which is in no checkpoint. The same seed gives the same sound."""

    num_threads: int | None = Field(default=None, ge=1)
    """Of PyTorch and onnxruntime on the CPU. None takes what Ray gives the replica."""

    @property
    def gpu_share(self) -> float:
        """The part of a GPU that Ray gives this replica; 1 where it has a whole one or more."""
        options = self.deployment_config.get("ray_actor_options") or {}
        return min(float(options.get("num_gpus") or 1.0), 1.0)

    def schedule(self, open_streams: int, lookahead: int) -> ChunkSchedule:
        """How an answer is cut into chunks that begins while `open_streams` others are spoken."""
        usual, *busy = self.schedules(lookahead)
        if open_streams < (self.quiet.streams or 0) and self.quiet.ramp[0] < next(usual.sizes()):
            return replace(usual, ramp=self.quiet.ramp)
        return busy[0] if busy and open_streams >= self.busy.streams else usual

    def schedules(self, lookahead: int) -> tuple[ChunkSchedule, ...]:
        """The usual schedule and, if there is another, that of a busy server.

        The chunks of a quiet server are smaller. They share the shapes of these.

        Args:
            lookahead: how many tokens a chunk sees beyond those that it consumes.
        """
        usual = ChunkSchedule(self.chunks.ramp, self.chunks.steady, lookahead)
        busy = replace(usual, ramp=self.busy.ramp)
        return (usual, busy) if next(busy.sizes()) > next(usual.sizes()) else (usual,)
