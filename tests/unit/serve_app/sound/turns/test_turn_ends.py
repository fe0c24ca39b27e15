"""Turns with pauses in them, of the recordings in the repository: `run_turns` in a short form.

Smart Turn makes little of these voices (eSpeak's), so here the judge knows the truth. What is
tested is all else: when it is asked, what its word does, and how long a turn takes to end.
"""

import numpy as np
import pytest

from serve_app.sound.turns.end_of_turn_silence import WAITS
from tests.benchmarks.run_turns import FRAME_MS, LateJudge, Outcome, outcome, probabilities_of
from tests.benchmarks.turns.sounds import PAUSES_MS, TurnSound, nano, turns

JUDGE_FRAMES = 4  # 128 ms
VAD_MS = 130  # how late voice activity may be to see the end of a sound
EARLY_MS = 60  # and how early: it does not hear a soft last consonant


class Truth(LateJudge):
    """Knows whether the sentence is over."""

    def __init__(self, turn: TurnSound) -> None:
        self._end_ms = turn.end_ms
        super().__init__(self._word, JUDGE_FRAMES)

    def _word(self, samples: np.ndarray) -> float:
        return float(self.frame * FRAME_MS > self._end_ms)


@pytest.fixture(scope="module")
async def found() -> list[Outcome]:
    found = []
    for turn in turns(nano(24), 24, seed=0):
        probabilities = probabilities_of(turn)
        for name in ("semantic_vad medium", "server_vad 500 ms"):
            found.append(await outcome(name, turn, probabilities, Truth(turn)))
    return found


def of(found: list[Outcome], rule: str) -> list[Outcome]:
    return [each for each in found if each.rule == rule]


def test_a_judge_that_is_right_ends_no_turn_in_its_pause(found: list[Outcome]) -> None:
    assert max(PAUSES_MS) < WAITS["medium"].incomplete
    assert not any(each.false_end for each in of(found, "semantic_vad medium"))
    server = of(found, "server_vad 500 ms")
    assert all(each.false_end for each in server if each.pause_ms > 700)
    assert sum(each.false_end for each in server) >= 16


def test_a_judge_that_is_right_ends_a_turn_soon(found: list[Outcome]) -> None:
    waits = [each.ends[-1] for each in of(found, "semantic_vad medium")]
    assert max(waits) <= 160 + JUDGE_FRAMES * FRAME_MS + VAD_MS + FRAME_MS
    assert sorted(waits)[len(waits) // 2] <= 400


def test_a_fixed_silence_ends_a_turn_after_it(found: list[Outcome]) -> None:
    for each in of(found, "server_vad 500 ms"):
        assert 500 - EARLY_MS <= each.ends[-1] <= 500 + VAD_MS + FRAME_MS


def test_speech_is_known_soon_after_it_began(found: list[Outcome]) -> None:
    onsets = sorted(each.onset_ms or 0 for each in found)
    assert onsets[len(onsets) * 9 // 10] <= 100
