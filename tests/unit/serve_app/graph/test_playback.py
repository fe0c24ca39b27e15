"""When a client hears a gap, and whose it is."""

import pytest

from serve_app.graph.playback import Playback


def played(*parts: tuple[float, float, float]) -> Playback:
    """Of (seconds of sound, when the client asked, when it came)."""
    playback = Playback()
    for part in parts:
        playback.take(*part)
    return playback


def test_sound_that_comes_before_the_last_has_been_played_makes_no_gap() -> None:
    playback = played((1.0, 0.0, 0.3), (1.0, 0.3, 1.2), (1.0, 1.2, 2.2))
    assert (playback.underruns, playback.silence_s) == (0, 0.0)
    assert playback.plays_until_s == pytest.approx(3.3)
    assert playback.played_s == 3.0


def test_sound_that_comes_later_makes_a_gap_and_playback_goes_on_behind_it() -> None:
    playback = played((1.0, 0.0, 0.3), (1.0, 0.3, 1.5), (1.0, 1.5, 2.4), (1.0, 2.4, 3.8))
    assert playback.underruns == 2
    assert playback.silence_s == pytest.approx(0.2 + 0.3)
    assert playback.plays_until_s == pytest.approx(4.8)


def test_the_wait_for_the_first_sound_is_no_gap() -> None:
    assert played((0.0, 0.0, 5.0), (1.0, 5.0, 9.0)).underruns == 0


def test_words_alone_make_no_gap() -> None:
    assert played((1.0, 0.0, 0.3), (0.0, 0.3, 2.0)).underruns == 0


def test_a_client_that_reads_late_causes_its_own_gap() -> None:
    assert played((1.0, 0.0, 0.3), (1.0, 9.0, 9.0)).underruns == 0
    late = played((1.0, 0.0, 0.3), (1.0, 9.0, 9.1))
    assert late.silence_s == pytest.approx(0.1)  # what the server added


def test_what_is_waited_for_is_not_what_the_client_takes_its_time_for() -> None:
    assert played((1.0, 0.0, 0.3), (1.0, 5.0, 5.2)).waited_s == pytest.approx(0.5)
