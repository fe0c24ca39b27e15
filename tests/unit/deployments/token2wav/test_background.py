"""Chunks in the background: a listener never waits because of them."""

from dataclasses import dataclass

from deployments.token2wav.admission import AT_LEAST, Admission
from deployments.token2wav.background import AGED_S, let_in, most_rows
from deployments.token2wav.schedule import FILL, MARGIN_S, Listener, next_batch

NOW = 100.0
STEP_S = 0.04


@dataclass(frozen=True)
class Row:
    name: str
    listener: Listener
    arrived_s: float = NOW - 1


def background(name: str = "background", waited_s: float = 1.0) -> Row:
    listener = Listener(NOW - 60, priority="background", last_sent_at_s=NOW - waited_s)
    return Row(name, listener, NOW - waited_s)


def playing(name: str, left_s: float) -> Row:
    return Row(name, Listener(NOW - 9, started_at_s=NOW - 5, sent_s=5 + left_s, chunks=5))


def names(rows: list[Row], *absent: Row) -> list[str]:
    """Of a step that starts now; `absent` streams have no chunk that waits."""
    listeners = [row.listener for row in (*rows, *absent)]
    ready = let_in(rows, listeners, NOW, STEP_S)
    rows = most_rows(ready, listeners, max_batch=32)
    return [row.name for row in next_batch(ready, NOW, open_streams=50, max_batch=rows)]


def test_a_step_that_a_listener_waits_for_takes_nothing_in_the_background():
    assert names([background(), Row("new", Listener(NOW))]) == ["new"]


def test_no_step_begins_in_the_background_if_a_listener_needs_one_before_it_ends():
    assert names([background()], playing("soon", STEP_S + MARGIN_S - 0.01)) == []
    assert names([background()], playing("far", STEP_S + MARGIN_S + 0.01)) == ["background"]


def test_work_in_the_background_has_the_engine_for_itself_while_nobody_listens():
    assert len(names([background(str(i)) for i in range(40)])) == 32


def test_a_step_in_the_background_is_small_while_somebody_listens():
    assert len(names([background(str(i)) for i in range(40)], playing("far", 20))) == FILL


def test_a_chunk_that_has_waited_long_goes_along_but_takes_no_place_of_a_listener():
    aged, new = background("aged", AGED_S), Row("new", Listener(NOW))
    assert names([aged, new]) == ["new", "aged"]
    assert names([aged], playing("soon", 0.1)) == []
    many = [Row(f"new {i}", Listener(NOW)) for i in range(FILL)]
    assert "aged" not in names([aged, *many])


def test_an_answer_that_is_live_goes_before_one_in_the_background_though_nobody_hears_either():
    whole = Row("whole", Listener(NOW - 9, streamed=False, last_sent_at_s=NOW - 1))
    assert names([background(waited_s=5.0), whole]) == ["whole", "background"]


def test_nothing_is_added_in_the_background_while_a_listener_hears_a_gap():
    admission = Admission(min_rows=4)
    for _ in range(AT_LEAST):
        admission.note_step(rows=8, speech_s=8.0, took_s=0.04, now_s=NOW)
    newcomer = Listener(NOW, priority="background")
    assert admission.fits([], newcomer, NOW, late=False)
    assert not admission.fits([], newcomer, NOW, late=True)
    assert admission.fits([], Listener(NOW, streamed=False), NOW, late=True)
