"""Files that a fake microphone plays: speech, silence, speech."""

from pathlib import Path

import numpy as np
import soundfile

from deployments.messages import OUTPUT_SAMPLE_RATE_HZ

SPEECH = Path("configs/nano/voices/low.wav")  # 2.4 s


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * OUTPUT_SAMPLE_RATE_HZ), "int16")


def speech() -> np.ndarray:
    """Somebody speaks, [N] int16 at 24 kHz."""
    samples, rate = soundfile.read(SPEECH, dtype="int16")
    assert rate == OUTPUT_SAMPLE_RATE_HZ
    return samples


def loudest(seconds: float) -> np.ndarray:
    """The loudest part of it that is so long."""
    samples, length = speech(), round(seconds * OUTPUT_SAMPLE_RATE_HZ)
    energy = np.convolve(samples.astype(float) ** 2, np.ones(length), "valid")
    begin = int(np.argmax(energy))
    return samples[begin : begin + length]


def recorded(path: Path, *sounds: np.ndarray) -> Path:
    """`path`, with these sounds one behind the other."""
    soundfile.write(path, np.concatenate(sounds), OUTPUT_SAMPLE_RATE_HZ, subtype="PCM_16")
    return path
