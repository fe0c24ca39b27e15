"""The samples that the graph speaks: s16le, mono, 24 kHz."""

from deployments.messages import OUTPUT_SAMPLE_RATE_HZ

BYTES_PER_SAMPLE = 2  # s16le, mono


class PcmEncoder:
    """Raw samples as they are."""

    def encode(self, pcm: bytes) -> bytes:
        return pcm

    def finish(self) -> bytes:
        return b""

    def close(self) -> None:
        pass


def pcm_file(pcm: bytes) -> bytes:
    """A whole answer as raw samples."""
    return pcm


def seconds_of(pcm_bytes: int) -> float:
    """Duration of `pcm_bytes` of s16le mono 24 kHz."""
    return pcm_bytes / (BYTES_PER_SAMPLE * OUTPUT_SAMPLE_RATE_HZ)
