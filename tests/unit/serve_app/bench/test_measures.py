"""Figures from hand-made arrival times."""

import pytest

from serve_app.bench.measures import (
    Arrival,
    PlaybackGaps,
    RequestTrace,
    gaps,
    percentile,
    percentiles,
    play,
    summarize,
)


def arrivals(*pieces: tuple[float, float]) -> list[Arrival]:
    return [Arrival(at_s, audio_s) for at_s, audio_s in pieces]


def test_audio_that_comes_just_in_time_is_no_underrun() -> None:
    assert play(arrivals((1.0, 0.5), (1.5, 0.5), (2.0, 0.5))) == PlaybackGaps(0, 0.0)


def test_sums_of_floats_make_no_underrun() -> None:
    pieces = [(0.1 * (i + 1), 0.1) for i in range(1000)]
    assert play(arrivals(*pieces)).underruns == 0


def test_an_underrun_lasts_until_the_next_byte_and_moves_all_that_follows() -> None:
    # Played out at 1.4; the second piece is 0.1 late and plays until 2.0; the third is 0.5 late.
    playback = play(arrivals((1.0, 0.4), (1.5, 0.5), (2.5, 1.0), (3.5, 0.1)))
    assert playback.underruns == 2
    assert playback.stalled_s == pytest.approx(0.6)


def test_audio_ahead_of_time_covers_a_late_piece() -> None:
    assert play(arrivals((0.0, 0.1), (0.05, 2.0), (2.0, 1.0))).underruns == 0


def test_a_prebuffer_delays_playback_until_it_is_full() -> None:
    late = arrivals((0.0, 0.2), (0.1, 0.2), (0.45, 0.2))
    assert play(late).underruns == 1
    assert play(late, prebuffer_s=0.4) == PlaybackGaps(0, 0.0)  # starts at 0.1, holds 0.4


def test_an_answer_shorter_than_the_prebuffer_plays_without_underrun() -> None:
    assert play(arrivals((0.0, 0.1), (5.0, 0.1)), prebuffer_s=1.0) == PlaybackGaps(0, 0.0)


def test_no_audio_has_no_underrun() -> None:
    assert play([]) == PlaybackGaps(0, 0.0)


def test_reads_of_one_chunk_are_not_a_gap() -> None:
    found = gaps(arrivals((1.0, 0.1), (1.001, 0.1), (1.501, 0.1), (1.502, 0.1), (1.702, 0.1)))
    assert found == pytest.approx([0.5, 0.2])


def test_a_percentile_is_the_nearest_rank() -> None:
    values = [15.0, 20.0, 35.0, 40.0, 50.0]
    assert [percentile(values, p) for p in (5, 30, 40, 50, 100)] == [15, 20, 20, 35, 50]


def test_percentiles_of_a_hundred_values_are_those_values() -> None:
    found = percentiles(float(value) for value in range(100, 0, -1))
    assert found is not None
    assert (found.p50, found.p90, found.p99, found.max) == (50, 90, 99, 100)


def test_no_value_has_no_percentile() -> None:
    assert percentiles([]) is None
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


def test_a_summary_counts_failures_only_as_outcomes() -> None:
    good = RequestTrace("a", sent_s=10.0, ended_s=12.0)
    good.arrivals = arrivals((10.2, 1.0), (11.2, 2.0), (12.0, 1.0))
    stalled = RequestTrace("b", sent_s=10.5, ended_s=14.0)
    stalled.arrivals = arrivals((11.0, 1.0), (14.0, 1.0))
    refused = RequestTrace("c", sent_s=10.0, ended_s=10.01, outcome="429")
    summary = summarize([good, stalled, refused])

    assert (summary.requests, summary.failed) == (3, 1)
    assert summary.outcomes == {"ok": 2, "429": 1}
    assert summary.ttfa_s is not None
    assert (summary.ttfa_s.p50, summary.ttfa_s.max) == pytest.approx((0.2, 0.5))
    assert summary.latency_s is not None
    assert (summary.latency_s.p50, summary.latency_s.max) == pytest.approx((2.0, 3.5))
    assert summary.rtf is not None
    assert (summary.rtf.p50, summary.rtf.max) == pytest.approx((0.5, 1.75))
    assert summary.gap_s is not None
    assert summary.gap_s.max == pytest.approx(3.0)
    assert summary.underruns == 1
    assert summary.stalled_s == pytest.approx(2.0)
    assert summary.requests_without_underrun == 0.5
    assert summary.window_s == pytest.approx(4.0)
    assert summary.audio_s_per_s == pytest.approx(6.0 / 4.0)
    assert summary.requests_per_s == pytest.approx(0.5)


def test_a_level_where_all_failed_has_no_latency() -> None:
    summary = summarize([RequestTrace("a", sent_s=1.0, ended_s=2.0, outcome="503")])
    assert summary.ttfa_s is None
    assert summary.requests_without_underrun is None
    assert summary.audio_s_per_s == 0
