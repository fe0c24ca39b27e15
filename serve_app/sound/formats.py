"""What an answer can be sent as: PCM as it is, or as a WAV file that streams.

A codec joins by an encoder and a line in `FORMATS`.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from deployments.errors import UnsupportedRequest
from deployments.messages import OUTPUT_SAMPLE_RATE_HZ

BYTES_PER_SAMPLE = 2  # s16le, mono
UNKNOWN_SIZE = 0xFFFFFFFF  # what players take for "until the stream ends"


class AudioEncoder(Protocol):
    """Encodes one answer; holds its state."""

    def encode(self, pcm: bytes) -> bytes:
        """Take s16le mono 24 kHz in, give what can be sent so far, perhaps nothing."""

    def finish(self) -> bytes:
        """All that was held back; called once, after the last PCM."""


class PcmEncoder:
    """Raw samples as they are."""

    def encode(self, pcm: bytes) -> bytes:
        return pcm

    def finish(self) -> bytes:
        return b""


class WavEncoder:
    """A header of unknown size, then raw samples."""

    def __init__(self) -> None:
        self._header = wav_header()

    def encode(self, pcm: bytes) -> bytes:
        header, self._header = self._header, b""
        return header + pcm

    def finish(self) -> bytes:
        return b""


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """A `response_format` that can be served."""

    name: str
    media_type: str
    encoder: Callable[[], AudioEncoder]


FORMATS = {
    "wav": AudioFormat("wav", "audio/wav", WavEncoder),
    "pcm": AudioFormat("pcm", "audio/pcm", PcmEncoder),
}


def audio_format(name: str, param: str) -> AudioFormat:
    """The format that a request names in its field `param`.

    Raises:
        UnsupportedRequest: it is not one of `FORMATS`.
    """
    try:
        return FORMATS[name]
    except KeyError:
        raise UnsupportedRequest(
            f"{param} {name!r} is not supported; supported now: {', '.join(FORMATS)} "
            "(the default of OpenAI's clients is mp3, so name one of these)",
            param=param,
        ) from None


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


def seconds_of(pcm_bytes: int) -> float:
    """Duration of `pcm_bytes` of s16le mono 24 kHz."""
    return pcm_bytes / (BYTES_PER_SAMPLE * OUTPUT_SAMPLE_RATE_HZ)
