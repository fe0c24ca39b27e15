"""Recordings in, PCM out: decoding, resampling, sample formats."""

import io

import av
import numpy as np
import soundfile
import soxr

from deployments.errors import AudioUnreadable


def decode_audio(data: bytes, rate_hz: int | None = None) -> tuple[np.ndarray, int]:
    """Decode a recording of any common format: WAV, FLAC, MP3, Ogg, M4A, WebM…

    Args:
        data: the file, as it came.
        rate_hz: the wanted sample rate; None keeps the recording's own.

    Returns:
        [N] float32, the mean of all channels, and its rate.

    Raises:
        AudioUnreadable: there is no sound in `data`, or it cannot be decoded.
    """
    if not data:
        raise AudioUnreadable("the file is empty")
    try:
        channels, own_rate_hz = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
        samples = channels.mean(axis=1)
    except soundfile.LibsndfileError:
        samples, own_rate_hz = _decode_with_ffmpeg(data)
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


def _decode_with_ffmpeg(data: bytes) -> tuple[np.ndarray, int]:
    pieces: list[np.ndarray] = []
    try:
        with av.open(io.BytesIO(data), "r") as container:
            if not container.streams.audio:
                raise AudioUnreadable("the file holds no audio")
            stream = container.streams.audio[0]
            rate_hz = stream.rate
            to_float = av.AudioResampler(format="fltp")  # keeps the rate and the channels
            for frame in container.decode(stream):
                pieces += [piece.to_ndarray().mean(axis=0) for piece in to_float.resample(frame)]
    except (av.FFmpegError, ValueError) as error:
        raise AudioUnreadable(str(error)) from error
    if not pieces:
        raise AudioUnreadable("the recording holds no samples")
    return np.concatenate(pieces).astype(np.float32, copy=False), rate_hz
