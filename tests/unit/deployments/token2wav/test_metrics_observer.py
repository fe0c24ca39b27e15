"""What Token2Wav's metrics say, each caused by the thing itself."""

import asyncio

import pytest

from deployments import metrics
from deployments.messages import ReferenceAudio
from deployments.token2wav.metrics_observer import MetricsObserver
from deployments.token2wav.observer import ChunkReport, StepReport
from tests.unit.deployments.recorded import Recorded
from tests.unit.deployments.token2wav.synthesizer.stand_in import (
    STEP_S,
    StandIn,
    chunk,
    recording,
    synthesizer_over,
)


@pytest.fixture
async def started():
    """A synthesizer, its engine, and what was recorded since it was ready."""
    engine, recorded = StandIn(), Recorded()
    synthesizer = synthesizer_over(
        lambda: engine, {"default": recording(b"voice")}, observer=MetricsObserver(recorded)
    )
    await synthesizer.start()
    yield synthesizer, engine, recorded
    synthesizer.close()


def report(*chunks: ChunkReport, began_s: float = 10.0, ended_s: float = 10.5) -> StepReport:
    return StepReport(began_s, ended_s, 0.0, len(chunks), 0, chunks)


async def test_a_step_counts_its_rows_its_time_and_its_chunks(started) -> None:
    synthesizer, _, recorded = started
    streams = [await synthesizer.open(None) for _ in range(3)]
    recorded.clear()
    await asyncio.gather(*(one.synthesize(chunk(1, 2)) for one in streams))
    rows, times = recorded.of(metrics.STEP_ROWS), recorded.of(metrics.STEP_TIME)
    assert sum(rows) == sum(recorded.of(metrics.CHUNKS)) == 3
    assert len(times) == len(rows)
    assert all(STEP_S <= time_s < 5 for time_s in times)


async def test_chunks_of_a_step_that_fails_do_not_count(started) -> None:
    synthesizer, engine, recorded = started
    stream = await synthesizer.open(None)
    recorded.clear()
    engine.fails = True
    await asyncio.gather(stream.synthesize(chunk(1)), return_exceptions=True)
    assert recorded.of(metrics.STEP_ROWS) == [1]
    assert recorded.of(metrics.CHUNKS) == []


async def test_a_chunk_that_is_not_finite_does_not_count(started) -> None:
    synthesizer, engine, recorded = started
    stream = await synthesizer.open(None)
    recorded.clear()
    engine.broken = {f"voice-{engine.opened}"}
    await asyncio.gather(stream.synthesize(chunk(1)), return_exceptions=True)
    assert recorded.of(metrics.STEP_ROWS) == [1]
    assert recorded.of(metrics.CHUNKS) == []


async def test_open_streams_go_up_and_down(started) -> None:
    synthesizer, _, recorded = started
    recorded.clear()
    streams = [await synthesizer.open(None) for _ in range(2)]
    for stream in streams:
        stream.close()
    assert recorded.of(metrics.STREAMS_OPEN) == [1, 2, 1, 0]


async def test_a_prepared_voice_counts_once_with_its_time(started) -> None:
    synthesizer, _, recorded = started
    recorded.clear()
    for _ in range(2):
        await synthesizer.prepare(ReferenceAudio(b"mine"))
    assert len(recorded.of(metrics.VOICE_PREPARATION)) == 1


async def test_cached_voices_are_those_that_are_kept(started) -> None:
    synthesizer, _, recorded = started
    assert recorded.of(metrics.VOICES_CACHED) == [1]  # the configured one
    for name in (b"a", b"b", b"c"):  # there is room for two
        await synthesizer.prepare(ReferenceAudio(name))
    assert recorded.of(metrics.VOICES_CACHED) == [1, 2, 3, 3]
    await asyncio.gather(synthesizer.prepare(ReferenceAudio(b"broken")), return_exceptions=True)
    assert recorded.of(metrics.VOICES_CACHED)[-1] == 2  # it took the place of another


@pytest.mark.parametrize(
    ("arrived_s", "plays_until_s", "cause"),
    [(10.1, 9.9, "tokens"), (9.0, 9.9, "step"), (9.0, 10.2, "end")],
)
def test_a_late_chunk_says_how_late_it_was_and_why(arrived_s, plays_until_s, cause) -> None:
    recorded = Recorded()
    MetricsObserver(recorded).step_ended(report(ChunkReport(9, False, arrived_s, plays_until_s)))
    assert recorded.of(metrics.LATE_CHUNKS) == [pytest.approx(10.5 - plays_until_s)]
    assert recorded.tags_of(metrics.LATE_CHUNKS) == [{"cause": cause}]


@pytest.mark.parametrize("plays_until_s", [None, 10.6])
def test_a_first_chunk_and_one_in_time_are_not_late(plays_until_s) -> None:
    recorded = Recorded()
    MetricsObserver(recorded).step_ended(report(ChunkReport(9, False, 9.0, plays_until_s)))
    assert recorded.of(metrics.LATE_CHUNKS) == []
    assert recorded.of(metrics.CHUNKS) == [1]


def test_a_step_in_time_takes_three_calls_whatever_its_rows() -> None:
    recorded = Recorded()
    in_time = ChunkReport(9, False, 9.0, 11.0)
    MetricsObserver(recorded).step_ended(report(*[in_time] * 64))
    assert recorded.calls == 3
