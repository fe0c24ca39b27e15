"""Whether a recording is fit to be a voice, before any model hears it. Pure: numpy alone."""

from collections.abc import Callable

import numpy as np

from deployments.errors import VoiceSampleUnfit

SpeechSeconds = Callable[[np.ndarray, int], float]
"""How many seconds of [N] float32 samples at a rate in Hz are speech."""

MIN_S, MAX_S = 3.0, 30.0  # less describes no voice; the speech tokenizer's positions end at 30 s
MIN_RATE_HZ = 16_000  # the speech tokenizer's own: below it the upper half of speech is missing
MAX_CHANNELS = 2
FULL_SCALE = 0.99
MAX_CLIPPED = (
    0.002  # of all samples: recordings at full scale have some, distorted ones 1 % or more
)
MIN_PEAK_DB = -40.0  # of full scale: the noise of a microphone that hears nobody
MIN_SPEECH_S = 1.5
FRAME_S = 0.02
OVER_NOISE_DB, UNDER_PEAK_DB = 10.0, 30.0  # speech is that much over pauses, and no softer
_SILENCE = 1e-6  # -120 dB, so that digital silence has a logarithm


def check_sample(samples: np.ndarray, rate_hz: int, channels: int, speech_s: SpeechSeconds) -> None:
    """Refuse a recording that would make a bad voice.

    Args:
        samples: [N] float32, the mean of all channels.
        rate_hz: of the recording as it came.
        channels: of the recording as it came.
        speech_s: finds speech.

    Raises:
        VoiceSampleUnfit: says what is wrong with it and what would be right.
    """
    seconds = len(samples) / rate_hz
    if not MIN_S <= seconds <= MAX_S:
        raise wrong_length(seconds)
    if channels > MAX_CHANNELS:
        raise VoiceSampleUnfit(f"it has {channels} channels, it may have one or two")
    if rate_hz < MIN_RATE_HZ:
        raise VoiceSampleUnfit(f"its rate is {rate_hz} Hz, it must be {MIN_RATE_HZ} Hz or more")
    if (peak_db := _decibels(peak(samples))) < MIN_PEAK_DB:
        raise VoiceSampleUnfit(f"it is silent: mixed, its peak is {peak_db:.0f} dB of full scale")
    if (clipped := clipped_part(samples)) > MAX_CLIPPED:
        raise VoiceSampleUnfit(f"it is clipped: {clipped:.1%} of its samples are at full scale")
    if (found_s := speech_s(samples, rate_hz)) < MIN_SPEECH_S:
        raise VoiceSampleUnfit(f"{found_s:.1f} s of it are speech, {MIN_SPEECH_S:g} s are needed")


def wrong_length(seconds: float) -> VoiceSampleUnfit:
    """What is said of a recording that is too short or too long."""
    return VoiceSampleUnfit(f"it lasts {seconds:.1f} s, it must last {MIN_S:g} to {MAX_S:g} s")


def peak(samples: np.ndarray) -> float:
    """The largest magnitude in [N] samples."""
    return float(np.abs(samples).max(initial=0.0))


def clipped_part(samples: np.ndarray) -> float:
    """The part of [N] samples that is at full scale, 0 to 1."""
    return float(np.mean(np.abs(samples) >= FULL_SCALE))


def energetic_s(samples: np.ndarray, rate_hz: int) -> float:
    """A `SpeechSeconds` by energy: frames that stand out from the pauses between them.

    A steady sound has no pauses, so none of it stands out. It takes music for speech.
    """
    frame = round(FRAME_S * rate_hz)
    frames = samples[: len(samples) // frame * frame].reshape(-1, frame)  # [T, frame]
    levels_db = 10 * np.log10(np.mean(frames**2, axis=1) + _SILENCE**2)  # [T]
    noise_db, loud_db = np.percentile(levels_db, (10, 95))
    threshold_db = max(noise_db + OVER_NOISE_DB, loud_db - UNDER_PEAK_DB)
    return float(np.sum(levels_db >= threshold_db)) * FRAME_S


def _decibels(amplitude: float) -> float:
    return float(20 * np.log10(max(amplitude, _SILENCE)))
