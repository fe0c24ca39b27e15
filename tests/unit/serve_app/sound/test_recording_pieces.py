"""Long recordings are cut in silence."""

import itertools
import tracemalloc

import numpy as np
import pytest

from serve_app.sound.recording_pieces import Cutting, Piece, PieceCutter
from serve_app.sound.voice_activity import RATE_HZ, SpeechRule, shared_model
from tests.nano.with_pauses import Spoken, with_pauses


def cut(samples: np.ndarray, cutting: Cutting, step: int | None = None) -> list[Piece]:
    cutter = PieceCutter(shared_model(), cutting)
    step = step or max(len(samples), 1)
    found = [p for i in range(0, len(samples), step) for p in cutter.push(samples[i : i + step])]
    return found + cutter.finish()


@pytest.fixture(scope="module")
def spoken() -> Spoken:
    return with_pauses(40)


def test_each_sentence_is_a_piece_whose_borders_are_right_to_50_ms(spoken: Spoken) -> None:
    pieces = cut(spoken.samples, Cutting())
    assert len(pieces) == len(spoken.sentences)
    for piece, sentence in zip(pieces, spoken.sentences, strict=True):
        assert abs(piece.start_s - sentence.start_s) < 0.05
        assert abs(piece.end_s - sentence.end_s) < 0.05
        assert 0.8 < piece.speech_probability <= 1.0


def test_a_piece_holds_its_sentence_and_no_other(spoken: Spoken) -> None:
    pieces = cut(spoken.samples, Cutting())
    for piece, sentence in zip(pieces, spoken.sentences, strict=True):
        start, end = (round(s * RATE_HZ) for s in (sentence.start_s, sentence.end_s))
        at = position(piece.samples, spoken.samples, near=start)
        assert at <= start and end <= at + len(piece.samples)
        assert len(piece.samples) - (end - start) <= 2 * (0.3 + 0.1) * RATE_HZ


def position(piece: np.ndarray, whole: np.ndarray, near: int) -> int:
    """Where `piece` was taken from."""
    low = max(near - RATE_HZ, 0)
    for at in range(low, near + RATE_HZ):
        if whole[at] == piece[0] and np.array_equal(whole[at : at + len(piece)], piece):
            return at
    raise AssertionError("the piece is no part of the recording")


@pytest.mark.parametrize("longest_s", [2.5, 25.0])
def test_pieces_do_not_depend_on_how_the_recording_came(spoken: Spoken, longest_s: float) -> None:
    samples = spoken.samples[: 30 * RATE_HZ]
    cutting = Cutting(longest_s=longest_s)
    whole, streamed = cut(samples, cutting), cut(samples, cutting, step=1_700)
    assert len(whole) == len(streamed) > 8
    for one, other in zip(whole, streamed, strict=True):
        assert (one.start_s, one.end_s) == (other.start_s, other.end_s)
        assert np.array_equal(one.samples, other.samples)


def test_speech_without_a_pause_is_cut_where_it_is_softest(spoken: Spoken) -> None:
    """Sentences end to end, under a rule that sees no pause: cuts are still between words."""
    cutting = Cutting(SpeechRule(silence_ms=5_000), longest_s=10.0)
    pieces = cut(spoken.samples, cutting)
    assert max(len(piece.samples) for piece in pieces) <= 10.0 * RATE_HZ
    for piece in pieces:  # every border is in a pause: no sentence is cut
        inside = [s for s in spoken.sentences if s.start_s < piece.end_s - 0.05 < s.end_s - 0.1]
        assert not inside


def test_speech_that_never_pauses_is_cut_all_the_same() -> None:
    loud = np.concatenate([with_pauses(1).samples[RATE_HZ : 2 * RATE_HZ]] * 40)
    pieces = cut(loud, Cutting(longest_s=5.0))
    assert len(pieces) >= 8
    assert max(len(piece.samples) for piece in pieces) <= 5.0 * RATE_HZ
    assert all(one.end_s <= following.start_s for one, following in itertools.pairwise(pieces))
    assert sum(piece.end_s - piece.start_s for piece in pieces) > 0.9 * 40


@pytest.mark.parametrize("samples", [np.zeros(0, np.float32), np.zeros(20 * RATE_HZ, np.float32)])
def test_silence_has_no_pieces(samples: np.ndarray) -> None:
    assert cut(samples, Cutting()) == []


def test_speech_up_to_the_end_is_a_piece() -> None:
    spoken = with_pauses(1)
    samples = spoken.samples[: round((spoken.sentences[0].end_s - 0.2) * RATE_HZ)]
    (piece,) = cut(samples, Cutting())
    assert abs(piece.end_s - len(samples) / RATE_HZ) < 0.05


def test_a_long_recording_is_not_held() -> None:
    spoken = with_pauses(4)
    cutter = PieceCutter(shared_model(), Cutting())
    cutter.push(spoken.samples)
    tracemalloc.start()
    for _ in range(10):
        cutter.push(spoken.samples)
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most_bytes < 5 * spoken.samples.nbytes
