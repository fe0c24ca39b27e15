"""Recordings in every container that the tests read: a quiet noise with a tone, one channel."""

import io
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import av
import numpy as np
import soundfile
from av.audio.stream import AudioStream
from av.container import OutputContainer

TONE_HZ = 440.0
FRAME_SAMPLES = 1024
Maker = Callable[[float], bytes]  # seconds -> a file


def make_sound(seconds: float, rate_hz: int) -> np.ndarray:
    """[N] float32; the noise keeps lossy codecs from making frames of nothing."""
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    noise = np.random.default_rng(0).standard_normal(len(time))
    return (0.4 * np.sin(2 * np.pi * TONE_HZ * time) + 0.01 * noise).astype(np.float32)


def write_soundfile(
    samples: np.ndarray, rate_hz: int, container: str, subtype: str | None = None
) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format=container, subtype=subtype)
    return file.getvalue()


class Pipe(io.RawIOBase):
    """What cannot go back: the writer never learns how long a recording becomes."""

    def __init__(self) -> None:
        self.written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.written += data
        return len(data)


def write_ffmpeg(
    samples: np.ndarray,
    rate_hz: int,
    container: str,
    codec: str,
    piped: bool = False,
    **options: str,
) -> bytes:
    """Encode [N] or [C, N] float32, with the muxer's options."""
    with tempfile.TemporaryDirectory() as folder:
        pipe, path = Pipe(), Path(folder) / "recording"
        with av.open(pipe if piped else str(path), "w", container, options=options) as output:
            _mux(output, np.atleast_2d(samples), rate_hz, codec)
        return bytes(pipe.written) if piped else path.read_bytes()


def _mux(output: OutputContainer, samples: np.ndarray, rate_hz: int, codec: str) -> None:
    layout = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}[len(samples)]
    stream = output.add_stream(codec, rate=rate_hz, layout=layout)
    stream.bit_rate = {AMR_ENCODER: 12_200}.get(codec, 64_000)
    for packet in [*_packets(stream, samples, layout), *stream.encode(None)]:
        if packet.size:  # FLAC's last is empty and takes only its own container further
            output.mux(packet)


def _packets(stream: AudioStream, samples: np.ndarray, layout: str) -> Iterator[av.Packet]:
    for start in range(0, samples.shape[1], FRAME_SAMPLES):
        piece = samples[:, start : start + FRAME_SAMPLES].T.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(piece, "flt", layout)
        frame.sample_rate = stream.rate
        yield from stream.encode(frame)


def _of(write: Callable[..., bytes], *how: str, rate_hz: int = 24_000, **more: object) -> Maker:
    return lambda seconds: write(make_sound(seconds, rate_hz), rate_hz, *how, **more)


_FRAGMENTS = {
    "movflags": "frag_keyframe+empty_moov+default_base_moof",
    "frag_duration": "200000",  # microseconds
}
_SOUNDFILE = (
    "WAV PCM_U8", "WAV PCM_16", "WAV PCM_24", "WAV PCM_32", "WAV FLOAT", "WAV DOUBLE", "WAV ALAW",
    "WAV ULAW", "WAV IMA_ADPCM", "WAV MS_ADPCM", "WAVEX PCM_16", "WAVEX FLOAT", "RF64 PCM_16",
    "W64 PCM_16", "AIFF PCM_16", "AIFF FLOAT", "AIFF ULAW", "AU PCM_16", "AU ULAW", "AU FLOAT",
    "CAF PCM_16", "CAF FLOAT", "CAF ALAC_16", "FLAC PCM_16", "FLAC PCM_24", "OGG VORBIS",
    "OGG OPUS", "MP3 MPEG_LAYER_III", "VOC PCM_16", "NIST PCM_16",
)  # fmt: skip
MAKERS: dict[str, Maker] = {name: _of(write_soundfile, *name.split()) for name in _SOUNDFILE}
# What a recorder wrote that could go back to its header, and what it wrote into a pipe
MAKERS |= {
    "mp3": _of(write_ffmpeg, "mp3", "libmp3lame"),
    "mp3 without a header": _of(
        write_ffmpeg, "mp3", "libmp3lame", write_xing="0", id3v2_version="0"
    ),
    "mp2": _of(write_ffmpeg, "mp2", "mp2"),
    "adts": _of(write_ffmpeg, "adts", "aac"),
    "m4a": _of(write_ffmpeg, "ipod", "aac"),
    "m4a, index first": _of(write_ffmpeg, "ipod", "aac", movflags="faststart"),
    "mp4 in fragments": _of(write_ffmpeg, "mp4", "aac", **_FRAGMENTS),
    "mp4 opus": _of(write_ffmpeg, "mp4", "libopus", rate_hz=48_000),
    "m4a alac": _of(write_ffmpeg, "ipod", "alac"),
    "mov": _of(write_ffmpeg, "mov", "pcm_s16le"),
    "mov float": _of(write_ffmpeg, "mov", "pcm_f32le"),
    "3gp": _of(write_ffmpeg, "3gp", "aac"),
    "webm": _of(write_ffmpeg, "webm", "libopus", rate_hz=48_000),
    "webm, live": _of(write_ffmpeg, "webm", "libopus", rate_hz=48_000, piped=True),
    "mka": _of(write_ffmpeg, "matroska", "aac"),
    "mka float64": _of(write_ffmpeg, "matroska", "pcm_f64le"),
    "mka flac": _of(write_ffmpeg, "matroska", "flac"),
    "ogg opus": _of(write_ffmpeg, "ogg", "libopus", rate_hz=48_000),
    "ogg flac": _of(write_ffmpeg, "ogg", "flac"),
    "wma": _of(write_ffmpeg, "asf", "wmav2"),
    "mpegts": _of(write_ffmpeg, "mpegts", "aac"),
    "flv": _of(write_ffmpeg, "flv", "aac"),
    "avi": _of(write_ffmpeg, "avi", "libmp3lame"),
    "wav with mp3": _of(write_ffmpeg, "wav", "libmp3lame"),
    "wav, piped": _of(write_ffmpeg, "wav", "pcm_s16le", piped=True),
    "w64, piped": _of(write_ffmpeg, "w64", "pcm_s16le", piped=True),
    "caf, piped": _of(write_ffmpeg, "caf", "pcm_s16le", piped=True),
    "au, piped": _of(write_ffmpeg, "au", "pcm_s16be", piped=True),
    "flac, piped": _of(write_ffmpeg, "flac", "flac", piped=True),
    "mp3, piped": _of(write_ffmpeg, "mp3", "libmp3lame", piped=True),
}
# PyAV reads AMR in every version. Up to 18 it also brings an encoder, which these are made with.
AMR_ENCODER = "libopencore_amrnb"
if AMR_ENCODER in av.codecs_available:
    MAKERS |= {
        "3gp amr": _of(write_ffmpeg, "3gp", AMR_ENCODER, rate_hz=8_000),
        "amr": _of(write_ffmpeg, "amr", AMR_ENCODER, rate_hz=8_000),
    }


@cache
def make_recording(name: str, seconds: float = 1.0) -> bytes:
    """A file of the kind that MAKERS calls `name`."""
    return MAKERS[name](seconds)
