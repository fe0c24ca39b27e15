"""How the resident engine divides its memory, and which shapes of a step it captures."""

from dataclasses import dataclass

from deployments.messages import AUDIO_TOKENS_PER_SECOND
from deployments.token2wav.contract import EngineOptions
from deployments.token2wav.token2wav_config import GpuMemory

LONGEST_VOICE_S = 30  # the speech tokenizer's positions end there


@dataclass(frozen=True, slots=True)
class ResidentSizes:
    """Sizes in tokens are of 40 ms. See `MemoryPlan` for what the budget becomes."""

    gpu: GpuMemory

    max_batch: int
    """The most streams that one captured step serves; more take several."""

    chunk_frames: tuple[int, ...]
    """Mel frames that a captured step holds; a longer chunk is computed without a graph, slower."""

    voice_tokens: tuple[int, ...]
    """The lengths of the configured voices."""

    gpu_share: float = 1.0
    """The part of the GPU that may be taken."""

    max_streams: int | None = None
    """The most streams that the engine must hold; None is as many as fit."""

    longest_voice_tokens: int = LONGEST_VOICE_S * AUDIO_TOKENS_PER_SECOND
    """Of a recording that comes with a request."""

    @classmethod
    def of(cls, options: EngineOptions, frames_per_token: int) -> "ResidentSizes":
        return cls(
            gpu=options.gpu,
            max_batch=options.max_batch,
            chunk_frames=tuple(frames_per_token * tokens for tokens in options.chunk_tokens),
            # a recording may have one token more than its length says
            voice_tokens=tuple(int(s * AUDIO_TOKENS_PER_SECOND) + 1 for s in options.voice_s),
            gpu_share=options.gpu_share,
            max_streams=options.max_streams,
        )

    @property
    def history_tokens(self) -> int:
        """What is kept at least, and a block, of which any part may be empty."""
        return int(self.gpu.history_s * AUDIO_TOKENS_PER_SECOND) + 64

    @property
    def rows(self) -> tuple[int, ...]:
        """Numbers of rows that are captured: 1, 2, 4, 8, 12, 16, 24, 32, …, and `max_batch`.

        A step of fewer computes all of its shape's, so above 8, where a row costs most of its
        share, there is one between each two powers of two.
        """
        powers = (1 << n for n in range(self.max_batch.bit_length()))
        sizes = {
            size for power in powers for size in (power, power * 3 // 2 if power > 4 else power)
        }
        return (*sorted(size for size in sizes if size < self.max_batch), self.max_batch)
