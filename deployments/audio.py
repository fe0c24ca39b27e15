"""Recordings in, PCM out: decoding, resampling, sample formats."""

import io

import av
import numpy as np
import soundfile
import soxr

from deployments.errors import AudioTooLong, AudioUnreadable

BLOCK_FRAMES = 1 << 16
# What FFmpeg is asked for: left to find out by itself it would take playlists too, and those
# name files of this machine. Offset and bytes of each container's mark, and FFmpeg's name.
CONTAINERS = (
    (4, b"ftyp", "mov"),
    (0, b"\x1a\x45\xdf\xa3", "matroska"),
    (0, b"OggS", "ogg"),
    (0, b"ID3", "mp3"),
    (0, b"RIFF", "wav"),
    (0, b"fLaC", "flac"),
    (0, b"FORM", "aiff"),
    (0, b"caff", "caf"),
    (0, b"#!AMR", "amr"),
    (0, b"\x30\x26\xb2\x75", "asf"),
)


def decode_audio(
    data: bytes, rate_hz: int | None = None, max_s: float | None = None
) -> tuple[np.ndarray, int]:
    """Decode a recording of any common format: WAV, FLAC, MP3, Ogg, M4A, WebM…

    Args:
        data: the file, as it came.
        rate_hz: the wanted sample rate; None keeps the recording's own.
        max_s: refuse what is longer, before it is decoded whole: 25 MB of MP3 can be hours.

    Returns:
        [N] float32, the mean of all channels, and its rate.

    Raises:
        AudioUnreadable: there is no sound in `data`, or it cannot be decoded.
        AudioTooLong: it lasts longer than `max_s`.
    """
    if not data:
        raise AudioUnreadable("the file is empty")
    try:
        samples, own_rate_hz = _decode_with_soundfile(data, max_s)
    except soundfile.LibsndfileError:
        samples, own_rate_hz = _decode_with_ffmpeg(data, max_s)
    if not len(samples):
        raise AudioUnreadable("the recording holds no samples")
    if not np.isfinite(samples).all():
        raise AudioUnreadable("the recording holds samples that are not numbers")
    if rate_hz is None:
        return samples, own_rate_hz
    return resample(samples, own_rate_hz, rate_hz), rate_hz


def resample(samples: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """[N] float32 at one rate -> [N * to_hz / from_hz] float32 at another."""
    if from_hz == to_hz:
        return samples
    return soxr.resample(samples, from_hz, to_hz).astype(np.float32, copy=False)


def to_pcm16(samples: np.ndarray) -> bytes:
    """Floats in -1 … 1 -> s16le bytes; what is louder is clipped, fractions are cut off."""
    return (np.clip(samples, -1.0, 1.0) * 32767.0).astype("<i2").tobytes()


def _decode_with_soundfile(data: bytes, max_s: float | None) -> tuple[np.ndarray, int]:
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        _require_at_most(max_s, file.frames / file.samplerate)
        # Block by block: a small file of silence can hold gigabytes of channels.
        blocks = file.blocks(BLOCK_FRAMES, dtype="float32", always_2d=True)  # [n, C] each
        pieces = [block.mean(axis=1) for block in blocks]
        return np.concatenate(pieces) if pieces else np.empty(0, np.float32), file.samplerate


def _decode_with_ffmpeg(data: bytes, max_s: float | None) -> tuple[np.ndarray, int]:
    pieces: list[np.ndarray] = []
    decoded_s = 0.0
    try:
        with av.open(io.BytesIO(data), "r", format=_container_of(data)) as container:
            if not container.streams.audio:
                raise AudioUnreadable("the file holds no audio")
            stream = container.streams.audio[0]
            rate_hz = stream.rate
            to_float = av.AudioResampler(format="fltp")  # keeps the rate and the channels
            for frame in container.decode(stream):
                decoded_s += frame.samples / rate_hz
                _require_at_most(max_s, decoded_s)
                pieces += [piece.to_ndarray().mean(axis=0) for piece in to_float.resample(frame)]
    except (av.FFmpegError, ValueError) as error:
        raise AudioUnreadable("no known format, or the file is damaged") from error
    if not pieces:
        raise AudioUnreadable("the recording holds no samples")
    return np.concatenate(pieces).astype(np.float32, copy=False), rate_hz


def _require_at_most(max_s: float | None, seconds: float) -> None:
    if max_s is not None and seconds > max_s:
        raise AudioTooLong(seconds, max_s)


def _container_of(data: bytes) -> str:
    """FFmpeg's name of the container, by its mark.

    Raises:
        AudioUnreadable: it is none of those that hold recordings.
    """
    for offset, mark, name in CONTAINERS:
        if data[offset : offset + len(mark)] == mark:
            return name
    if data[0] == 0xFF and data[1:2] and data[1] & 0xE0 == 0xE0:  # a frame without a header
        return "aac" if data[1] & 0xF6 == 0xF0 else "mp3"
    raise AudioUnreadable("no known format, or the file is damaged")
