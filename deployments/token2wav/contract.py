"""What Token2Wav's synthesizer asks of an engine, and what it gives one to load.

Voices and states of streams are values of the engine's own kind. No other code looks into them.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from deployments.token2wav.token2wav_config import GpuMemory, ReferenceAudioLimits


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """All that an engine is loaded with, of the configuration and of the machine."""

    token2wav_dir: Path
    """Holds flow.yaml, flow.pt, hift.pt and the two ONNX models, as published."""

    device: Literal["cpu", "cuda"]
    """Where the flow and the vocoder run. Voices are always encoded on the CPU."""

    dtype: Literal["float32", "float16"]
    """Of the flow. The phases of the vocoder need float32 in any case."""

    seed: int
    """Of all noise: the same seed, voice and tokens give the same sound."""

    num_threads: int | None
    """Of PyTorch, for the whole process, and of onnxruntime. None leaves both as they are."""

    reference_audio: ReferenceAudioLimits
    """How long a voice recording may be."""

    max_batch: int
    """The most streams of one step."""

    chunk_tokens: tuple[int, ...]
    """Sizes of chunk, in audio tokens, that steps are made fast for."""

    max_streams: int | None
    """The most streams that the engine must hold; None is as many as it can."""

    voice_s: tuple[float, ...]
    """The lengths of the configured voices, in seconds."""

    gpu: GpuMemory
    """How the memory of a GPU is divided."""

    gpu_share: float
    """The part of a GPU that the replica may take, 1 for all of it."""


@dataclass(frozen=True, slots=True, eq=False)
class StepInput:
    """One stream's next chunk."""

    state: Any
    tokens: Sequence[int]  # consumed ones and, unless `last`, the engine's lookahead after them
    last: bool


@dataclass(frozen=True, slots=True, eq=False)
class StepOutput:
    """What one step made of a chunk. A stream's samples add up to 960 for each token."""

    pcm: bytes  # s16le, 24 kHz; nothing where a sample is not finite
    state: Any  # the stream, moved on
    finite: bool = True  # whether every sample is a number; if not, the stream ends here


class StepEngine(Protocol):
    """Holds weights, and steps many streams at once.

    `encode_voice` may run beside a step, in a thread of its own; the pieces of `place_voice` and
    `step` run in one thread, one at a time; `open` and `close` in any.
    """

    @property
    def codebook_size(self) -> int:
        """Audio tokens are below it."""

    @property
    def lookahead(self) -> int:
        """Tokens that a chunk sees beyond those that it consumes."""

    @property
    def max_streams(self) -> int:
        """The most streams that can be open at once, in the shortest of the configured voices."""

    @property
    def rows_share_a_step(self) -> bool:
        """Whether a step of n rows costs less than n steps of one row."""

    def encode_voice(self, data: bytes) -> Any:
        """All of a voice's preparation that may take its time.

        Raises:
            AudioUnreadable: the recording cannot be decoded.
            ReferenceAudioUnfit: it is too short or too long.
            VoiceUnusable: the models make no numbers of it.
        """

    def place_voice(self, encoded: Any) -> Generator[None, None, Any]:
        """The rest of it, in pieces, which `placing` runs: steps may run after each of them.

        Callers place one voice after another: an engine has the memory for one.

        Returns:
            The generator's return value is a voice that streams can be opened in.

        Raises:
            VoiceUnusable: as `encode_voice`.
            ServerFull: streams have all the memory.
        """

    def open(self, voice: Any) -> Any:
        """Begin a stream, and return its state. Raises ServerFull where no memory is left."""

    def close(self, state: Any) -> None:
        """Give back what a stream holds, also while a step has it. May be called twice."""

    def step(self, rows: Sequence[StepInput]) -> Sequence[StepOutput]:
        """Synthesise one chunk of each of several streams, which do not touch each other.

        Raises:
            ValueError: a chunk that consumes no token or names one outside the codebook; then
                nothing has happened to any stream.
        """
