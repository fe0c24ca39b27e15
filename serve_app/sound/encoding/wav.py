"""WAV files, whole and streamed."""

import struct

from deployments.messages import OUTPUT_SAMPLE_RATE_HZ
from serve_app.sound.encoding.pcm import BYTES_PER_SAMPLE

UNKNOWN_SIZE = 0xFFFFFFFF  # what players take for "until the stream ends"


class WavEncoder:
    """A header of unknown size, then raw samples."""

    def __init__(self) -> None:
        self._header = wav_header()

    def encode(self, pcm: bytes) -> bytes:
        header, self._header = self._header, b""
        return header + pcm

    def finish(self) -> bytes:
        return b""

    def close(self) -> None:
        pass


def wav_header(pcm_bytes: int | None = None) -> bytes:
    """44 bytes in front of `pcm_bytes` of s16le mono 24 kHz; None where the end is not known."""
    data = UNKNOWN_SIZE if pcm_bytes is None else pcm_bytes
    riff = UNKNOWN_SIZE if pcm_bytes is None else pcm_bytes + 36
    rate = OUTPUT_SAMPLE_RATE_HZ
    return b"".join(
        (
            struct.pack("<4sI4s", b"RIFF", riff, b"WAVE"),
            # PCM, one channel, rate, bytes a second, bytes a frame, bits a sample
            struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, rate * 2, BYTES_PER_SAMPLE, 16),
            struct.pack("<4sI", b"data", data),
        )
    )


def wav_file(pcm: bytes) -> bytes:
    """A whole WAV file of s16le mono 24 kHz."""
    return wav_header(len(pcm)) + pcm
