"""How the resident engine divides its memory, and which shapes of a step it captures."""

from dataclasses import dataclass

from deployments.messages import AUDIO_TOKENS_PER_SECOND
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

    longest_voice_tokens: int = LONGEST_VOICE_S * AUDIO_TOKENS_PER_SECOND

    @property
    def memory_bytes(self) -> int:
        return int(self.gpu.memory_gb * 2**30)

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
