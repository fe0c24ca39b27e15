"""Tones, and what a client hears of an encoded answer."""

import io

import av
import numpy as np
import soxr

from deployments.messages import OUTPUT_SAMPLE_RATE_HZ, SAMPLES_PER_AUDIO_TOKEN

TONE_HZ = 440.0
TONE_PEAK = 8000 / 32768
EDGE = 960  # 40 ms, samples at either end of a tone whose envelope rises or falls

# What each format may add to a streamed answer. Leads and frames in samples at 24 kHz.
LEAD = {"mp3": 1105, "opus": 0, "aac": 1024, "flac": 0}  # the decoder's silence in front
FRAME = {"mp3": 576, "opus": 480, "aac": 1024, "flac": 1152}
CLOSING = 1200  # 50 ms of silence at the end


def tone(samples: int, begin: int = 0) -> bytes:
    """440 Hz from sample `begin` on, s16le mono 24 kHz."""
    time = np.arange(begin, begin + samples) / OUTPUT_SAMPLE_RATE_HZ
    wave = 32768 * TONE_PEAK * np.sin(2 * np.pi * TONE_HZ * time)
    return np.round(wave).astype("<i2").tobytes()


def decoded(data: bytes) -> np.ndarray:
    """[N] float64 at 24 kHz: all that FFmpeg reads of a file or stream, or of its beginning."""
    pieces, rate = [], 0
    with av.open(io.BytesIO(data)) as container:
        for frame in container.decode(audio=0):
            rate = frame.sample_rate
            pieces.append(_floats(frame.to_ndarray())[0])
    whole = np.concatenate(pieces)
    if rate == OUTPUT_SAMPLE_RATE_HZ:
        return whole
    resampled: np.ndarray = soxr.resample(whole, rate, OUTPUT_SAMPLE_RATE_HZ)
    return resampled


def _floats(samples: np.ndarray) -> np.ndarray:
    if samples.dtype == np.int16:
        return samples / 32768.0
    return samples.astype(np.float64)


def envelope(samples: np.ndarray) -> np.ndarray:
    """Of a tone, sample by sample: the magnitude of the analytic signal, 1 for `TONE_PEAK`."""
    spectrum = np.fft.fft(samples)
    spectrum[len(samples) // 2 :] = 0
    magnitude: np.ndarray = np.abs(2 * np.fft.ifft(spectrum)) / TONE_PEAK
    return magnitude


def pitch_hz(samples: np.ndarray) -> float:
    """The frequency of a tone: the peak of its spectrum, to a tenth of a hertz."""
    padded = 10 * OUTPUT_SAMPLE_RATE_HZ
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), padded))
    return float(np.argmax(spectrum)) / 10


def assert_steady(samples: np.ndarray, length: int, lead: int) -> None:
    """`length` samples of the tone, after `lead` of silence, have neither a gap nor a click."""
    inner = envelope(samples)[lead + EDGE : lead + length - EDGE]
    assert len(inner) == length - 2 * EDGE
    level = np.median(inner)
    assert 0.94 <= level <= 1.02  # LAME plays everything at 0.95, so that peaks do not clip
    assert inner.min() >= 0.95 * level
    assert inner.max() <= 1.05 * level


def assert_streamed_length(samples: int, tokens: int, form: str) -> None:
    """A decoded stream has all of `tokens`, and no more than its format explains."""
    assert_streamed_samples(samples, tokens * SAMPLES_PER_AUDIO_TOKEN, form)


def assert_streamed_samples(samples: int, spoken: int, form: str) -> None:
    """A decoded stream has all that was `spoken`, and no more than its format explains."""
    most = spoken if form in ("wav", "pcm") else spoken + CLOSING + LEAD[form] + FRAME[form]
    assert spoken <= samples <= most
