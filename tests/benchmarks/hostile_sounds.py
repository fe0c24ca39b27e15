"""Recordings that no engine may meet: samples that are huge, or no numbers at all.

Each is speech for half a second or more, so that nothing but its samples is wrong with it.
"""

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import soundfile

from serve_app.bench.inputs import synthetic_speech

RATE_HZ = 16_000
HIGH_RATE_HZ = 44_100  # resampled by the server
SECONDS = 0.6
REFUSED = frozenset({400})
# Silence, in the end: the server may answer or refuse; 422 says that a transcript has no end, as
# those of random weights have none.
HARMLESS = frozenset({200, 400, 422})
Change = Callable[[np.ndarray], np.ndarray]  # [N] float64 -> [N] or [N, C] float64


@dataclass(frozen=True, slots=True)
class HostileSound:
    """A WAV file and what a server may answer to it."""

    name: str
    wav: bytes
    allowed: frozenset[int] = REFUSED

    @property
    def base64(self) -> str:
        return base64.b64encode(self.wav).decode()


def hostile_sounds() -> list[HostileSound]:
    """Every kind once."""
    return [
        _sound("samples of 1e20", lambda speech: speech * 1e20),
        _sound("samples of 3e38", lambda speech: speech * 3e38),
        _sound("one sample of 1e20", lambda speech: _with_one(speech, 1e20)),
        _sound("two channels of 3e38, whose sum overflows", lambda speech: _twice(speech * 3e38)),
        _sound("3e38 to be resampled", lambda speech: speech * 3e38, rate_hz=HIGH_RATE_HZ),
        _sound("1e300 in 64 bits", lambda speech: speech * 1e300, subtype="DOUBLE"),
        _sound("one NaN", lambda speech: _with_one(speech, np.nan)),
        _sound("all NaN", lambda speech: speech * np.nan),
        _sound("one infinity", lambda speech: _with_one(speech, np.inf)),
        _sound("one negative infinity", lambda speech: _with_one(speech, -np.inf)),
        _sound("denormals", lambda speech: speech * 1e-40, allowed=HARMLESS),
    ]


def _sound(
    name: str,
    change: Change,
    *,
    rate_hz: int = RATE_HZ,
    subtype: str = "FLOAT",
    allowed: frozenset[int] = REFUSED,
) -> HostileSound:
    speech = synthetic_speech(SECONDS * rate_hz / RATE_HZ, seed=0).astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        samples = change(speech / np.abs(speech).max())
        if subtype == "FLOAT":
            samples = samples.astype(np.float32)
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format="WAV", subtype=subtype)
    return HostileSound(name, file.getvalue(), allowed)


def _with_one(speech: np.ndarray, value: float) -> np.ndarray:
    """`speech` with `value` in its middle."""
    changed = speech.copy()
    changed[len(changed) // 2] = value
    return changed


def _twice(speech: np.ndarray) -> np.ndarray:
    return np.stack((speech, speech), axis=1)
