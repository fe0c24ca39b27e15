"""Who is let in while others are spoken."""

import pytest

from deployments.token2wav.admission import AT_LEAST, FORGET_S, HORIZON_S, SHARE, Admission
from deployments.token2wav.schedule import Listener

NOW = 100.0
MAX_BATCH = 32
ROW_S = 0.002  # what a row costs on an H200 where 32 share a step, both stages at work


def newcomer() -> Listener:
    return Listener(NOW)


def ahead(by_s: float) -> Listener:
    return Listener(NOW - 9, started_at_s=NOW - 5, sent_s=5 + by_s, chunks=9)


def experienced(row_s: float = ROW_S, rows: int = 32) -> Admission:
    admission = Admission(MAX_BATCH)
    for _ in range(20):
        admission.note_step(rows, rows * row_s, NOW)
    return admission


def most_beginnings(admission: Admission, others: list[Listener]) -> int:
    """How many are let in at one moment beside `others`."""
    inside = list(others)
    while len(inside) < 1000 and admission.fits(inside, newcomer(), NOW):
        inside.append(newcomer())
    return len(inside) - len(others)


def test_128_beginnings_at_one_moment_fit_and_192_do_not():
    assert 128 <= most_beginnings(experienced(), []) < 192


def test_streams_that_are_ahead_of_their_listeners_take_no_room():
    alone = most_beginnings(experienced(), [])
    assert most_beginnings(experienced(), [ahead(2.0)] * 200) == alone
    assert most_beginnings(experienced(), [ahead(0.1)] * 50) == alone - 50 // 2


def test_the_dearer_a_row_the_fewer_are_let_in():
    quick, slow = (most_beginnings(experienced(row_s), []) for row_s in (ROW_S, 4 * ROW_S))
    assert slow == pytest.approx(quick / 4, abs=1)
    assert quick == pytest.approx(SHARE * HORIZON_S / ROW_S / 2, abs=1)


def test_nobody_is_refused_while_nothing_is_known():
    assert most_beginnings(Admission(MAX_BATCH), []) > 500
    assert most_beginnings(experienced(row_s=1.0, rows=MAX_BATCH // 2 - 1), []) > 500


def test_what_was_learned_long_ago_refuses_nobody():
    admission = experienced(row_s=0.2)

    def fits(at_s: float) -> bool:
        return admission.fits([Listener(at_s)], Listener(at_s), at_s)

    assert not fits(NOW + FORGET_S)
    assert fits(NOW + FORGET_S + 0.1)


def test_whoever_would_be_alone_is_let_in_and_so_is_everybody_where_none_is_in_real_time():
    assert experienced(row_s=0.2).fits([], newcomer(), NOW)
    assert most_beginnings(experienced(row_s=0.4), []) > 500


def test_a_few_slow_steps_after_the_start_refuse_nobody():
    admission = Admission(MAX_BATCH)
    for _ in range(AT_LEAST - 1):
        admission.note_step(32, 5.0, NOW)
    assert most_beginnings(admission, []) > 500
    admission.note_step(32, 5.0, NOW)
    assert most_beginnings(admission, []) == 2


def test_the_price_follows_the_newest_steps():
    admission = experienced(row_s=0.2)
    assert most_beginnings(admission, []) == 1
    for _ in range(40):
        admission.note_step(32, 32 * ROW_S, NOW)
    assert most_beginnings(admission, []) >= 128


def test_one_step_that_was_held_up_refuses_nobody():
    admission = experienced()
    before = most_beginnings(admission, [])
    admission.note_step(32, 10.0, NOW)
    assert most_beginnings(admission, []) == before
