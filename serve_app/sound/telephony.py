"""G.711, the 8 kHz sound of telephones, by tables that FFmpeg's codecs make."""

from functools import cache
from typing import Any, Literal

import av
import numpy as np

RATE_HZ = 8000
Law = Literal["pcm_mulaw", "pcm_alaw"]


def decoded(data: bytes, law: Law) -> np.ndarray:
    """[N] bytes -> [N] int16."""
    return _values(law)[np.frombuffer(data, np.uint8)]


def encoded(samples: np.ndarray, law: Law) -> bytes:
    """[N] int16 -> N bytes."""
    return bytes(_bytes(law)[samples.view(np.uint16)])


@cache
def _values(law: Law) -> np.ndarray:
    """[256] int16: the sample that each byte stands for."""
    frames = _codec(law, "r").decode(av.Packet(bytes(range(256))))
    return np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames])


@cache
def _bytes(law: Law) -> np.ndarray:
    """[65536] uint8: the byte of each sample, by its value as uint16."""
    values = np.arange(1 << 16, dtype=np.uint16).view(np.int16).reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(values, format="s16", layout="mono")
    frame.sample_rate = RATE_HZ
    codec = _codec(law, "w")
    packets = [*codec.encode(frame), *codec.encode(None)]
    return np.frombuffer(b"".join(bytes(packet) for packet in packets), np.uint8)


def _codec(law: Law, mode: Literal["r", "w"]) -> Any:
    codec: Any = av.CodecContext.create(law, mode)
    codec.sample_rate, codec.layout = RATE_HZ, "mono"
    if mode == "w":
        codec.format = "s16"
    return codec
