"""The parts of the time to a first sound."""

from serve_app.bench.measures import Arrival, RequestTrace
from tests.benchmarks.first_sound import first_sound
from tests.benchmarks.step_log import LoggedChunk, LoggedStep


def step(began_s: float, ended_s: float, *chunks: LoggedChunk) -> LoggedStep:
    return LoggedStep(began_s, ended_s, open_streams=1, left_waiting=0, chunks=chunks)


def heard(sent_s: float, at_s: float) -> RequestTrace:
    trace = RequestTrace("text", sent_s, ended_s=at_s + 1)
    trace.arrivals.append(Arrival(at_s, 0.2))
    return trace


def test_the_parts_follow_each_other_and_belong_to_their_own_request():
    steps = [
        step(10.08, 10.10, LoggedChunk(12, False, 10.07, None)),
        step(10.15, 10.16, LoggedChunk(8, False, 10.14, 10.3)),
        step(20.09, 20.11, LoggedChunk(12, False, 20.07, None)),
    ]
    parts = first_sound([heard(20.0, 20.12)], steps)
    assert parts is not None
    found = [one.p50 for one in (parts.tokens_s, parts.waiting_s, parts.step_s, parts.sending_s)]
    assert [round(value, 3) for value in found] == [0.07, 0.02, 0.02, 0.01]


def test_without_its_step_nothing_is_said():
    assert first_sound([heard(20.0, 20.12)], []) is None
