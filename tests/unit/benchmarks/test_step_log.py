"""What is made of the notes of Token2Wav's steps."""

from dataclasses import asdict
from types import SimpleNamespace

import pytest

from deployments.token2wav.observer import ChunkReport, StepReport
from tests.benchmarks.step_log import (
    LoggedChunk,
    LoggedStep,
    StepLog,
    logged,
    steps_from,
    summarize_steps,
)


def step(began_s: float, ended_s: float, *chunks: LoggedChunk) -> LoggedStep:
    return LoggedStep(began_s, ended_s, open_streams=3, left_waiting=0, chunks=chunks)


def chunk(arrived_s: float, dry_at_s: float | None) -> LoggedChunk:
    return LoggedChunk(28, last=False, arrived_s=arrived_s, dry_at_s=dry_at_s)


def test_each_late_chunk_has_one_reason():
    in_time, new = chunk(1.0, 2.0), chunk(1.0, None)
    tokens, waited, slow = chunk(1.3, 1.2), chunk(1.0, 1.3), chunk(1.0, 1.45)
    summary = summarize_steps([step(1.4, 1.5, in_time, new, tokens, waited, slow)])
    assert (summary.steps, summary.chunks, summary.late) == (1, 5, 3)
    assert summary.late_by_tokens == summary.late_by_waiting == summary.late_by_step == 1


def test_steps_are_counted_by_their_rows():
    one, two = chunk(0.0, None), (chunk(0.0, 5.0), chunk(0.0, 4.0))
    summary = summarize_steps([step(1, 1.1, one), step(2, 2.2, *two), step(3, 3.4, *two)])
    assert summary.rows == {1: 1, 2: 2}
    assert summary.step_s_by_rows == pytest.approx({1: 0.1, 2: 0.2})
    assert summary.busy_s == pytest.approx(0.7)
    assert summary.over_s == pytest.approx(2.4)
    assert summary.slack_s["p1"] == pytest.approx(4.0 - 3.4)


def test_of_no_steps_there_is_a_summary_too():
    assert summarize_steps([]).steps == 0


def test_steps_are_noted_and_taken_once():
    log = StepLog()
    reported = ChunkReport(tokens=2, last=True, arrived_s=7.0, plays_until_s=None)
    log.step_ended(
        StepReport(1.0, 2.0, held_s=0.0, open_streams=3, left_waiting=2, chunks=(reported,))
    )
    (noted,) = log.take()
    assert log.take() == []
    assert noted == LoggedStep(1.0, 2.0, 3, 2, (LoggedChunk(2, True, 7.0, None),))
    assert steps_from([asdict(noted)]) == [noted]


async def test_the_steps_of_a_deployment_that_is_measured_are_those_of_its_synthesizer():
    class Deployed:
        observer = None

        async def __init__(self) -> None:  # as Ray Serve awaits it
            self.observer.step_ended(StepReport(1.0, 2.0, 0.0, 3, 2, ()))

    measured = logged(
        SimpleNamespace(func_or_class=Deployed, options=lambda func_or_class: func_or_class)
    )
    replica = measured.__new__(measured)
    await measured.__init__(replica)
    assert steps_from(await replica.take_steps()) == [LoggedStep(1.0, 2.0, 3, 2, ())]
