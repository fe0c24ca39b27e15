"""Who goes into the next step."""

from dataclasses import dataclass

import pytest

from deployments.token2wav.schedule import RELAXED_BATCH, Playback, next_batch

NOW = 100.0


@dataclass(frozen=True)
class Row:
    name: str
    playback: Playback


def silent(name: str, waited_s: float) -> Row:
    return Row(name, Playback(opened_at_s=NOW - waited_s))


def playing(name: str, left_s: float) -> Row:
    return Row(name, Playback(opened_at_s=NOW - 9, started_at_s=NOW - 5, sent_s=5 + left_s))


def names(rows: list[Row], max_batch: int = 32) -> list[str]:
    return [row.name for row in next_batch(rows, NOW, max_batch)]


def test_who_waits_for_sound_or_runs_dry_goes_before_who_is_far_ahead():
    rows = [playing("far", 20), playing("dry soon", 0.3), silent("new", 0.05)]
    assert names(rows, max_batch=2) == ["new", "dry soon"]


def test_the_stream_that_waited_longest_for_its_first_sound_is_first():
    assert names([silent("b", 0.1), silent("a", 0.4)])[0] == "a"


@pytest.mark.parametrize(("pressing", "size"), [(1, 1), (3, 4), (5, 8), (40, 32)])
def test_the_rest_fills_the_batch_to_the_next_power_of_two(pressing, size):
    rows = [silent(f"new {i}", 0.1) for i in range(pressing)]
    rows += [playing(f"far {i}", 10 + i) for i in range(60)]
    batch = names(rows)
    assert len(batch) == size
    assert batch[:pressing] == [f"new {i}" for i in range(min(pressing, size))]


def test_with_nobody_pressing_a_step_stays_short():
    rows = [playing(f"far {i}", 10 + i) for i in range(20)]
    assert names(rows) == [f"far {i}" for i in range(RELAXED_BATCH)]
    assert names([]) == []


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
