"""When a step starts and who goes into it."""

from dataclasses import dataclass

import pytest

from deployments.token2wav.schedule import FILL, MARGIN_S, Playback, next_batch, next_due_s

NOW = 100.0


@dataclass(frozen=True)
class Row:
    name: str
    playback: Playback


def silent(name: str, waited_s: float = 0.1) -> Row:
    return Row(name, Playback(opened_at_s=NOW - waited_s))


def playing(name: str, left_s: float) -> Row:
    return Row(name, Playback(opened_at_s=NOW - 9, started_at_s=NOW - 5, sent_s=5 + left_s))


def names(rows: list[Row], open_streams: int = 100, max_batch: int = 32) -> list[str]:
    batch = next_batch(rows, NOW, open_streams=open_streams, max_batch=max_batch)
    return [row.name for row in batch]


def test_who_waits_for_sound_or_runs_dry_goes_before_who_is_far_ahead():
    rows = [playing("far", 20), playing("dry soon", 0.1), silent("new")]
    assert names(rows, max_batch=2) == ["new", "dry soon"]


def test_the_stream_that_waited_longest_for_its_first_sound_is_first():
    assert names([silent("b", 0.1), silent("a", 0.4)])[0] == "a"


def test_who_is_far_ahead_waits_for_company_and_goes_along_with_whoever_is_due():
    far = [playing(f"far {i}", 10 + i) for i in range(40)]
    assert names(far[:5]) == []
    assert names([*far[:5], silent("new")]) == ["new", *(row.name for row in far[:5])]
    assert len(names([*far, silent("new")])) == FILL


@pytest.mark.parametrize(("open_streams", "enough"), [(1, 1), (2, 1), (16, 8), (200, 32)])
def test_half_of_the_open_streams_are_company_enough(open_streams, enough):
    far = [playing(f"far {i}", 10 + i) for i in range(enough)]
    assert len(names(far, open_streams)) == enough
    assert names(far[1:], open_streams) == []


def test_all_who_are_due_go_up_to_a_full_batch():
    assert len(names([silent(f"new {i}") for i in range(20)])) == 20
    assert len(names([silent(f"new {i}") for i in range(40)])) == 32


def test_the_next_step_starts_before_the_first_listener_runs_dry():
    assert next_due_s([playing("a", 3), playing("b", 2)]) == pytest.approx(NOW + 2 - MARGIN_S)
    assert next_due_s([]) is None


def test_a_listener_runs_dry_when_what_was_sent_is_played():
    playback = Playback(opened_at_s=0)
    assert not playback.is_late(50)  # nothing plays yet
    playback.sent(1.0, now_s=2.0)
    playback.sent(1.0, now_s=2.1)
    assert playback.dry_at_s == 4.0
    assert not playback.is_late(3.9)
    assert playback.is_late(4.1)
    playback.sent(1.0, now_s=5.0)  # after a gap of a second it begins anew
    assert playback.dry_at_s == 6.0
