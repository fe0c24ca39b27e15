"""Turns with pauses in them, and the curve of false ends against waits."""

import numpy as np
import pytest

from serve_app.sound.turns.end_of_turn_silence import Waits
from serve_app.sound.voice_activity import RATE_HZ
from tests.benchmarks.turns.curve import VAD_MS, Words, point, words
from tests.benchmarks.turns.sounds import PAUSES_MS, Recording, TurnSound, turns


def spoken(own_pause_s: float, tail: float = 0.0) -> Recording:
    """A second of sound, a pause, a second of sound, which fades for 200 ms."""
    rng = np.random.default_rng(0)
    sound = rng.uniform(-0.5, 0.5, RATE_HZ).astype(np.float32)
    quiet = np.zeros(int(own_pause_s * RATE_HZ), np.float32)
    fades = np.full(RATE_HZ // 5, tail, np.float32)
    cut_s = 1 + own_pause_s / 2
    return Recording(
        "one", "This is | a turn.", np.concatenate((sound, quiet, sound, fades)), cut_s
    )


def loud(turn: TurnSound, from_ms: int, to_ms: int) -> float:
    part = turn.samples[from_ms * RATE_HZ // 1000 : to_ms * RATE_HZ // 1000]
    return float(np.sqrt(np.mean(part**2)) / np.abs(turn.samples).max())


@pytest.mark.parametrize("own_pause_s", [0.1, 0.4, 2.0])
def test_the_whole_own_pause_becomes_the_pause(own_pause_s: float) -> None:
    for turn in turns([spoken(own_pause_s)], 5, seed=1):
        begin, end = turn.pause_from_ms, turn.pause_from_ms + turn.pause_ms
        assert PAUSES_MS[0] <= turn.pause_ms <= PAUSES_MS[1]
        assert loud(turn, begin - 50, begin - 5) > 0.2 > loud(turn, begin + 5, end - 5)
        assert loud(turn, end + 5, end + 50) > 0.2
        assert abs(turn.end_ms - turn.start_ms - turn.pause_ms - 2000) <= 15


def test_a_sound_is_not_cut_off_at_its_end() -> None:
    """A tail below the threshold of sounds is there, behind what counts as the end."""
    (turn,) = turns([spoken(0.4, tail=0.004)], 1, seed=3)
    (cut,) = turns([spoken(0.4)], 1, seed=3)
    assert turn.end_ms == cut.end_ms
    apart = np.abs(turn.samples - cut.samples)
    behind = slice(turn.end_ms * RATE_HZ // 1000 + 80, (turn.end_ms + 190) * RATE_HZ // 1000)
    assert apart[behind].min() > 0.005 * np.abs(turn.samples).max()


def test_the_area_is_the_share_of_pairs_in_order() -> None:
    assert Words(np.array([0.1, 0.5]), np.array([0.5, 0.9])).area == pytest.approx(3.5 / 4)


def test_the_curve_counts_what_the_waits_meet() -> None:
    heard = Words(np.array([0.2, 0.96]), np.array([0.96, 0.99]))
    waits = Waits(complete=400 - VAD_MS, unknown=1000, incomplete=1500)
    assert point(heard, 0.95, waits) == {
        "threshold": 0.95,
        "false_ends_percent": 50.0,
        "wait_p50_ms": 400,
        "wait_mean_ms": 400,
    }
    assert point(heard, 0.97, waits)["false_ends_percent"] == 0.0


def test_words_are_those_of_the_patient_rule() -> None:
    turn = {"rule": "semantic_vad low", "judged": [(-200, 0.1), (210, 0.8)]}
    other = {"rule": "semantic_vad high", "judged": [(-200, 0.4), (210, 0.7)]}
    unasked = {"rule": "semantic_vad low", "judged": [(210, 0.8)]}
    found = words([turn, other, unasked])
    assert found.in_pauses.tolist() == [0.1] and found.at_ends.tolist() == [0.8]
