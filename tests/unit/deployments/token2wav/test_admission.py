"""Who is let in while others are spoken."""

import pytest

from deployments.token2wav.admission import AT_LEAST, FORGET_S, HORIZON_S, SHARE, Admission
from deployments.token2wav.schedule import Listener

NOW = 100.0
MIN_ROWS = 16  # half of a batch
ROW_S = 0.002  # what a row costs on an H200 where 32 share a step, both stages at work


def newcomer() -> Listener:
    return Listener(NOW)


def ahead(by_s: float) -> Listener:
    return Listener(NOW - 9, started_at_s=NOW - 5, sent_s=5 + by_s, chunks=9)


def note(admission: Admission, rows: int, took_s: float) -> None:
    """A step of chunks of a second."""
    admission.note_step(rows, speech_s=rows * 1.0, took_s=took_s, now_s=NOW)


def experienced(row_s: float = ROW_S, rows: int = 32, min_rows: int | None = MIN_ROWS) -> Admission:
    admission = Admission(min_rows)
    for _ in range(20):
        note(admission, rows, rows * row_s)
    return admission


def most_beginnings(admission: Admission, others: list[Listener]) -> int:
    """How many are let in at one moment beside `others`."""
    inside = list(others)
    while len(inside) < 1000 and admission.fits(inside, newcomer(), NOW, late=False):
        inside.append(newcomer())
    return len(inside) - len(others)


def test_128_beginnings_at_one_moment_fit_and_192_do_not():
    assert 128 <= most_beginnings(experienced(), []) < 192


def test_streams_that_are_ahead_of_their_listeners_take_no_room():
    alone = most_beginnings(experienced(), [])
    assert most_beginnings(experienced(), [ahead(2.0)] * 200) == alone
    assert most_beginnings(experienced(), [ahead(0.1)] * 50) == alone - 50 // 2


def test_the_more_a_row_costs_the_fewer_are_let_in():
    quick, slow = (most_beginnings(experienced(row_s), []) for row_s in (ROW_S, 4 * ROW_S))
    assert slow == pytest.approx(quick / 4, abs=1)
    assert quick == pytest.approx(SHARE * HORIZON_S / ROW_S / 2, abs=1)


def test_nobody_is_refused_while_nothing_is_known():
    assert most_beginnings(Admission(MIN_ROWS), []) > 500
    assert most_beginnings(experienced(row_s=1.0, rows=MIN_ROWS - 1), []) > 500


def test_what_was_learned_long_ago_refuses_nobody():
    admission = experienced(row_s=0.2)

    def fits(at_s: float) -> bool:
        return admission.fits([Listener(at_s)], Listener(at_s), at_s, late=False)

    assert not fits(NOW + FORGET_S)
    assert fits(NOW + FORGET_S + 0.1)


def test_whoever_would_be_alone_is_let_in():
    slow = experienced(row_s=0.6)
    assert slow.fits([], newcomer(), NOW, late=False)
    assert slow.fits([ahead(5.0)], newcomer(), NOW, late=False)  # it needs nothing for a while
    assert most_beginnings(slow, []) == 1


@pytest.mark.parametrize("min_rows", [None, MIN_ROWS])
@pytest.mark.parametrize("late", [False, True])
def test_where_one_answer_alone_is_too_slow_everybody_is_let_in(min_rows, late):
    slow = experienced(row_s=1.5, rows=1, min_rows=min_rows)
    for others in (0, 1, 2, 7, 50):
        assert slow.fits([ahead(0.0)] * others, newcomer(), NOW, late=late)


def test_nobody_is_let_in_beside_a_listener_who_hears_a_gap():
    assert not experienced().fits([ahead(0.0)], newcomer(), NOW, late=True)
    assert experienced().fits([ahead(0.0)], newcomer(), NOW, late=False)


def test_an_answer_that_is_not_streamed_competes_with_nobody():
    unheard = Listener(NOW, streamed=False)
    full = [newcomer()] * 500
    assert not experienced().fits(full, newcomer(), NOW, late=False)
    assert experienced().fits(full, unheard, NOW, late=True)
    assert most_beginnings(experienced(), [unheard] * 500) == most_beginnings(experienced(), [])


@pytest.mark.parametrize(("pace", "together"), [(0.1, 5), (0.3, 2), (0.7, 1)])
def test_where_each_row_is_computed_by_itself_its_speech_says_what_it_costs(pace, together):
    cpu = experienced(row_s=pace, rows=1, min_rows=None)
    for at_s in (NOW, NOW + 500):  # it stays so
        listening = Listener(at_s - 9, started_at_s=at_s - 5, sent_s=5, chunks=9)
        new = Listener(at_s)
        assert cpu.fits([listening] * (together - 1), new, at_s, late=False)
        assert not cpu.fits([listening] * (together + 1), new, at_s, late=False)


def test_a_few_slow_steps_after_the_start_refuse_nobody():
    admission = Admission(MIN_ROWS)
    for _ in range(AT_LEAST - 1):
        note(admission, 32, 5.0)
    assert most_beginnings(admission, []) > 500
    note(admission, 32, 5.0)
    assert most_beginnings(admission, []) == 2


def test_the_cost_follows_the_newest_steps():
    admission = experienced(row_s=0.2)
    assert most_beginnings(admission, []) == 1
    for _ in range(40):
        note(admission, 32, 32 * ROW_S)
    assert most_beginnings(admission, []) >= 128


def test_one_step_that_was_held_up_refuses_nobody():
    admission = experienced()
    before = most_beginnings(admission, [])
    note(admission, 32, 10.0)
    assert most_beginnings(admission, []) == before


def test_time_is_left_for_as_many_chunks_as_are_let_in():
    admission = experienced()
    assert admission.time_left([], NOW) == 1
    most = most_beginnings(admission, [])
    assert 0 <= admission.time_left([newcomer()] * most, NOW) < 0.02
    assert admission.time_left([newcomer()] * (most + 5), NOW) < 0
    assert admission.time_left([ahead(2.0)] * 500, NOW) == 1


def test_all_the_time_is_left_where_nobody_is_refused_for_it():
    crowd = [newcomer()] * 500
    assert Admission(MIN_ROWS).time_left(crowd, NOW) == 1
    assert Admission(None).time_left(crowd, NOW) == 1
