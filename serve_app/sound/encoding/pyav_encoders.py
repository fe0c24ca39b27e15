"""Compressed sound through PyAV: one encoder a streamed answer, and whole files."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import av
import numpy as np

from deployments.messages import OUTPUT_SAMPLE_RATE_HZ
from serve_app.sound.encoding.filter_threads import use_no_threads
from serve_app.sound.encoding.pcm import BYTES_PER_SAMPLE

# Some decoders drop a stream's last frame. Silence longer than any frame (FLAC's 48 ms) is all that
# they can lose then.
CLOSING_SILENCE_S = 0.05
CLOSING_SILENCE = bytes(round(CLOSING_SILENCE_S * OUTPUT_SAMPLE_RATE_HZ) * BYTES_PER_SAMPLE)


@dataclass(frozen=True, slots=True)
class Codec:
    """A codec in its container, by FFmpeg's names, with the options that suit streaming."""

    container: str
    codec: str
    options: Mapping[str, str]  # of the codec; `b` is its rate in bits a second
    stream_options: Mapping[str, str] = field(default_factory=dict)  # of a streamed container


class CodecEncoder:
    """Encodes one streamed answer. Each call must end before the next one begins."""

    def __init__(self, codec: Codec) -> None:
        self._sink = _Sink()
        self._writer = _Writer(codec, self._sink, codec.stream_options)

    def encode(self, pcm: bytes) -> bytes:
        self._writer.write(pcm)
        return self._sink.take()

    def finish(self) -> bytes:
        self._writer.write(CLOSING_SILENCE)
        self._writer.finish()
        return self._sink.take()

    def close(self) -> None:
        self._writer.close()


def encode_file(codec: Codec, pcm: bytes) -> bytes:
    """A whole file of s16le mono 24 kHz, its length in the header of any container that has one."""
    file = io.BytesIO()
    writer = _Writer(codec, file, {})
    try:
        writer.write(pcm)
        writer.finish()
    finally:
        writer.close()
    return file.getvalue()


class _Sink:
    """A file that cannot seek, and gives what was written since it was last asked."""

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._written.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        written, self._written = self._written, []
        return b"".join(written)


class _Writer:
    """An encoder and its container over a file."""

    def __init__(self, codec: Codec, file: Any, container_options: Mapping[str, str]) -> None:
        use_no_threads()
        self._container = av.open(
            file, "w", format=codec.container, options=dict(container_options)
        )
        self._stream: Any = self._container.add_stream(
            codec.codec, rate=OUTPUT_SAMPLE_RATE_HZ, layout="mono", options=dict(codec.options)
        )
        self._stream.codec_context.open()  # now, and not with the first sound: LAME takes 1.6 ms
        self._samples = 0

    def write(self, pcm: bytes) -> None:
        frame = _frame(pcm)
        frame.pts = self._samples
        self._samples += frame.samples
        self._encode(frame)

    def finish(self) -> None:
        self._encode(None)
        self._container.close()

    def close(self) -> None:
        # The container and its streams refer to each other: only this frees the encoder at once.
        self._container.close()

    def _encode(self, frame: av.AudioFrame | None) -> None:
        for packet in self._stream.encode(frame):
            self._container.mux(packet)


def _frame(pcm: bytes) -> av.AudioFrame:
    samples = np.frombuffer(pcm, dtype="<i2").reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
    frame.sample_rate = OUTPUT_SAMPLE_RATE_HZ
    return frame
