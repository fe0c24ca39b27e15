"""When a step starts and who goes into it."""

from dataclasses import dataclass

import pytest

from deployments.chunker import ChunkSchedule
from deployments.messages import AUDIO_TOKENS_PER_SECOND
from deployments.token2wav.functional import EncoderConfig
from deployments.token2wav.functional.hift_stream import OVERLAP_FRAMES
from deployments.token2wav.schedule import (
    BEGINS_WITHIN_S,
    FILL,
    FIRST_SOUND_S,
    HELD_AT_MOST_S,
    MARGIN_S,
    PATIENCE_S,
    PUT_OFF_S,
    QUIET_S,
    UNHEARD_DEADLINE_S,
    UNHEARD_DUE_S,
    Listener,
    held_until_s,
    next_batch,
    next_due_s,
)

NOW = 100.0


@dataclass(frozen=True)
class Row:
    name: str
    listener: Listener
    arrived_s: float = 0.0


def silent(name: str, waited_s: float = 0.1) -> Row:
    return Row(name, Listener(opened_at_s=NOW - waited_s))


def playing(name: str, left_s: float) -> Row:
    return Row(name, Listener(NOW - 9, started_at_s=NOW - 5, sent_s=5 + left_s, chunks=5))


def names(rows: list[Row], open_streams: int = 100, max_batch: int = 32) -> list[str]:
    batch = next_batch(rows, NOW, open_streams=open_streams, max_batch=max_batch)
    return [row.name for row in batch]


def test_a_listener_who_would_hear_a_gap_goes_before_one_who_is_far_ahead():
    rows = [playing("far", 20), silent("new"), playing("runs out", 0.1)]
    assert names(rows, max_batch=2) == ["runs out", "new"]


def test_a_first_sound_that_waited_too_long_goes_before_a_gap():
    rows = [playing("runs out", 0.1), silent("forgotten", waited_s=FIRST_SOUND_S)]
    assert names(rows, max_batch=1) == ["forgotten"]


def test_the_stream_that_waited_longest_for_its_first_sound_is_first():
    assert names([silent("b", 0.1), silent("a", 0.4)])[0] == "a"


def test_a_newcomer_goes_before_those_who_are_not_due():
    ahead = [playing(f"ahead {i}", MARGIN_S + 0.05 + 0.02 * i) for i in range(20)]
    assert "new" in names([*ahead, silent("new")])


@pytest.mark.parametrize("left_s", [0.2, 1.7, 11.388])
def test_a_step_starts_at_the_very_moment_that_is_waited_for(left_s):
    row = playing("a", left_s)
    due_s = next_due_s([row])
    assert next_batch([row], due_s, open_streams=9, max_batch=32) == [row]


def test_a_chunk_that_is_not_due_waits_for_a_step_of_others_and_goes_along():
    far = [playing(f"far {i}", 10 + i) for i in range(40)]
    assert names(far[:5]) == []
    assert names([*far[:5], silent("new")]) == ["new", *(row.name for row in far[:5])]
    assert len(names([*far, silent("new")])) == FILL


@pytest.mark.parametrize(("open_streams", "enough"), [(1, 1), (2, 1), (16, 8), (200, 32)])
def test_a_step_starts_when_half_of_the_open_streams_wait(open_streams, enough):
    far = [playing(f"far {i}", 10 + i) for i in range(enough)]
    assert len(names(far, open_streams)) == enough
    assert names(far[1:], open_streams) == []


def test_all_who_are_due_go_up_to_a_full_batch():
    assert len(names([silent(f"new {i}") for i in range(20)])) == 20
    assert len(names([silent(f"new {i}") for i in range(40)])) == 32


def unheard(name: str, waited_s: float) -> Row:
    """Of an answer that is not streamed, whose last chunk went out `waited_s` ago."""
    return Row(name, Listener(NOW - 9, streamed=False, last_sent_at_s=NOW - waited_s))


def test_an_answer_that_is_not_streamed_stays_out_of_a_step_that_a_listener_waits_for():
    assert names([unheard("unheard", 0.1), silent("new"), playing("far", 20)]) == ["new", "far"]


def test_an_answer_that_is_not_streamed_waits_for_others_but_not_for_ever():
    assert names([unheard("unheard", 0.1)]) == []
    assert names([unheard("unheard", UNHEARD_DUE_S)]) == ["unheard"]
    assert names([unheard("unheard", 0.1)], open_streams=1) == ["unheard"]
    late = unheard("forgotten", UNHEARD_DEADLINE_S + 0.1)
    assert names([playing("runs out", 0.01), late], max_batch=1) == ["forgotten"]


def test_an_answer_that_is_not_streamed_goes_behind_all_listeners_who_are_due():
    rows = [unheard("unheard", UNHEARD_DUE_S), *(silent(f"new {i}", 0.9) for i in range(32))]
    assert "unheard" not in names(rows)


def test_an_answer_that_is_not_streamed_needs_no_step_in_time():
    listener = Listener(NOW, streamed=False)
    listener.sent(1.0, NOW)
    assert listener.plays_until_s is None
    assert listener.needs(NOW, 10.0).chunks == 0


def arrived(*at_s: float) -> list[Row]:
    return [Row(str(at), Listener(NOW), at) for at in at_s]


def test_a_step_is_held_while_chunks_come_in_one_after_another():
    assert held_until_s(arrived(NOW), NOW, NOW) == pytest.approx(NOW + QUIET_S)
    newest_s = NOW + 0.001
    assert held_until_s(arrived(NOW, newest_s), NOW, NOW) == pytest.approx(newest_s + QUIET_S)


def test_a_step_is_not_held_for_ever():
    newest_s = NOW + HELD_AT_MOST_S
    assert held_until_s(arrived(NOW, newest_s), NOW, NOW) == pytest.approx(NOW + HELD_AT_MOST_S)


def test_while_nobody_is_due_a_step_has_patience():
    ahead = [playing("a", 2), playing("b", MARGIN_S + 0.01)]
    assert held_until_s(ahead, NOW, NOW) == pytest.approx(NOW + PATIENCE_S)
    assert held_until_s(ahead, NOW, NOW + 0.02) < NOW + PATIENCE_S  # now the second one is


def test_a_listener_needs_the_next_chunks_when_those_before_are_played():
    schedule = ChunkSchedule(ramp=(10, 10), steady=25)  # the first one plays 0.24 s
    begun = Listener(NOW - 1, schedule)
    begun.sent(0.24, NOW)
    assert begun.needs(NOW, within_s=0.2).chunks == 0
    assert begun.needs(NOW, within_s=0.3).chunks == 1  # played after 0.24, 0.64, 1.64 s
    assert begun.needs(NOW, within_s=1.6).chunks == 2
    assert begun.needs(NOW, within_s=2.0).chunks == 3
    assert begun.needs(NOW + 5, within_s=0.1).chunks == 1  # it hears a gap: at once


def test_one_who_plays_twice_as_fast_is_due_twice_as_early_and_needs_twice_as_much():
    usual, fast = Listener(NOW), Listener(NOW, speed=2.0)
    for listener in (usual, fast):
        listener.sent(0.24, NOW)
        listener.sent(3.0, NOW)
    assert fast.plays_until_s - NOW == pytest.approx((usual.plays_until_s - NOW) / 2)
    assert fast.due_at_s < usual.due_at_s
    usual_s, fast_s = (one.needs(NOW, 20.0).speech_s for one in (usual, fast))
    assert fast_s == pytest.approx(2 * usual_s + 3.24, abs=1.0)  # to a chunk


def test_one_who_has_heard_nothing_can_be_put_off():
    new = Listener(NOW, ChunkSchedule(ramp=(10, 10), steady=25))
    assert new.needs(NOW, PUT_OFF_S).chunks == 0
    assert new.needs(NOW, PUT_OFF_S + 0.1).chunks == 1
    assert new.needs(NOW, PUT_OFF_S + 0.25).chunks == 2
    assert new.needs(NOW + BEGINS_WITHIN_S + 0.1, 9.0).chunks == 0  # it thinks, or calls tools


def test_a_chunk_plays_as_long_as_its_tokens_but_for_what_the_vocoder_holds_back():
    schedule = ChunkSchedule(ramp=(10, 20), steady=25)
    held_s = OVERLAP_FRAMES / (AUDIO_TOKENS_PER_SECOND * EncoderConfig().up_stride)
    tokens_s = [tokens / AUDIO_TOKENS_PER_SECOND for tokens in (10, 20, 25, 25)]
    played_s = [schedule.duration_s(index) for index in range(4)]
    assert played_s == pytest.approx([tokens_s[0] - held_s, *tokens_s[1:]])


def test_the_next_step_starts_before_the_first_listener_hears_a_gap():
    assert next_due_s([playing("a", 3), playing("b", 2)]) == pytest.approx(NOW + 2 - MARGIN_S)
    assert next_due_s([]) is None


def test_a_listener_plays_what_was_sent_from_its_first_sample_on():
    listener = Listener(opened_at_s=0)
    listener.sent(0.0, now_s=1.0)
    assert listener.plays_until_s is None  # nothing plays yet
    listener.sent(1.0, now_s=2.0)
    listener.sent(1.0, now_s=2.1)
    assert listener.plays_until_s == 4.0
    listener.sent(1.0, now_s=5.0)  # after a gap of a second it begins anew
    assert listener.plays_until_s == 6.0
