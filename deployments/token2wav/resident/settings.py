"""How the resident engine divides its memory, and which shapes it captures."""

from dataclasses import dataclass

from deployments.errors import ConfigError

TOKENS_PER_S = 25


@dataclass(frozen=True, slots=True)
class ResidentSettings:
    """Sizes in tokens are of 40 ms. See `MemoryPlan` for what the budget becomes."""

    memory_bytes: int = 12 << 30
    """For the state of streams and voices; weights and work space come on top."""

    max_batch: int = 32
    """The most streams that one captured step serves; more take several."""

    chunk_frames: tuple[int, ...] = (24, 50, 56)
    """Mel frames that a captured step holds; a longer chunk is computed without a graph, slower.

    A server gives what `engines.chunk_frames` makes of its schedule: 18, 26, 40, 50, 54 for
    `Token2WavConfig()`. The sizes here are those that
    `tests/benchmarks/token2wav_resident.py` measures.
    """

    history_s: float = 40.0
    """The encoder sees at least so much of a stream's own speech, and the voice. The official
    encoder sees all of it, and its memory has no end; beyond this the oldest drops out."""

    typical_voice_s: float = 10.0
    """The length of recording for which `max_streams` is counted."""

    resident_voices: int = 4
    """Voices that the count of `max_streams` leaves room for. More may be resident while there
    is room; a voice without a stream gives way, and costs 0.1 s when it is used again."""

    longest_voice_tokens: int = 30 * TOKENS_PER_S

    vocoder_exact: bool = False
    """Keep the vocoder's filter in float32 where the flow is float16."""

    def __post_init__(self) -> None:
        if self.history_s < 4:
            raise ConfigError("history_s must be at least 4")
        if not self.chunk_frames or min(self.chunk_frames) < 2 or self.max_batch < 1:
            raise ConfigError("chunk_frames and max_batch must not be empty")

    @property
    def history_tokens(self) -> int:
        """What is kept at least, and a block, of which any part may be empty."""
        return int(self.history_s * TOKENS_PER_S) + 64

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
