"""What a recording must be to become a voice."""

import numpy as np
import pytest
import soundfile

from deployments.errors import VoiceSampleUnfit
from serve_app.sound.voice_samples import check_sample, clipped_part, energetic_s
from tests.places import ROOT

SPEECH, RATE_HZ = soundfile.read(
    ROOT / "deployments" / "token2wav" / "assets" / "default_voice.wav", dtype="float32"
)


def noise(level: float, seconds: float = 5.0) -> np.ndarray:
    samples = np.random.default_rng(0).normal(size=round(seconds * RATE_HZ))
    return (level * samples).astype("float32")


def check(samples: np.ndarray, rate_hz: int = RATE_HZ, channels: int = 1) -> None:
    check_sample(samples, rate_hz, channels, energetic_s)


@pytest.mark.parametrize("gain_db", [-30, -20, -10, 0, 3])
def test_speech_is_taken_at_any_usual_level(gain_db: float) -> None:
    check(SPEECH * 10 ** (gain_db / 20))


def test_speech_at_full_scale_is_not_clipped() -> None:
    check(SPEECH / np.abs(SPEECH).max())


@pytest.mark.parametrize("gain_db", [9, 12, 20])
def test_speech_that_a_converter_cut_is_clipped(gain_db: float) -> None:
    with pytest.raises(VoiceSampleUnfit, match="clipped"):
        check(np.clip(SPEECH * 10 ** (gain_db / 20), -1, 1))


def test_speech_in_a_quiet_room_is_speech_and_in_loud_noise_is_not_enough() -> None:
    room = np.resize(noise(1.0), SPEECH.shape)
    check(SPEECH + 0.002 * room)
    with pytest.raises(VoiceSampleUnfit, match="are speech"):
        check(0.2 * SPEECH + 0.1 * room)


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (noise(0.1), "0.0 s of it are speech"),
        (np.zeros(5 * RATE_HZ, "float32"), "silent"),
        (noise(0.001), "silent"),
        (np.concatenate((SPEECH[: RATE_HZ // 2], np.zeros(4 * RATE_HZ, "float32"))), "are speech"),
        (SPEECH[: 2 * RATE_HZ], "lasts 2.0 s"),
        (noise(0.1, 31.0), "lasts 31.0 s"),
    ],
)
def test_what_is_no_speech_is_refused(samples: np.ndarray, reason: str) -> None:
    with pytest.raises(VoiceSampleUnfit, match=reason):
        check(samples)


def test_a_better_ear_may_judge() -> None:
    heard = []

    def deaf(samples: np.ndarray, rate_hz: int) -> float:
        heard.append((len(samples), rate_hz))
        return 0.0

    with pytest.raises(VoiceSampleUnfit, match="are speech"):
        check_sample(SPEECH, RATE_HZ, 1, deaf)
    assert heard == [(len(SPEECH), RATE_HZ)]


def test_samples_beyond_full_scale_are_clipped_ones() -> None:
    assert clipped_part(np.array([0.0, 1.5, -1.0, 0.5])) == 0.5
