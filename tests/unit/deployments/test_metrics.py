"""The table of metrics, and where values go."""

import re
from collections.abc import Callable

import pytest

from deployments import metrics
from deployments.metrics import METRICS, UNRECORDED, Metric, ServeRecorder, recorder, recording

NAME = re.compile(r"step_audio2(_[a-z]+)+")  # OpenTelemetry's and Prometheus' names both
OURS = ("deployment", "replica", "application", "route")  # Ray Serve's tags

each_metric = pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)


def test_no_name_is_there_twice() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)


@each_metric
def test_a_metric_has_a_name_a_unit_and_one_sentence(metric: Metric) -> None:
    assert NAME.fullmatch(metric.name)
    assert not metric.name.endswith("_total")  # the exporter's
    assert (metric.unit == "s") == metric.name.endswith("_seconds")
    assert metric.sentence[0].isupper()
    assert metric.sentence.endswith(".")
    assert not set(metric.tags) & set(OURS)


@each_metric
def test_buckets_are_of_histograms_and_ascend(metric: Metric) -> None:
    assert not (metric.kind == "gauge" and metric.tags)  # one value of each is set again and again
    assert bool(metric.buckets) == (metric.kind == "histogram")
    assert list(metric.buckets) == sorted(set(metric.buckets))
    assert all(limit > 0 for limit in metric.buckets)  # Ray refuses another


def test_the_exported_name_is_rays() -> None:
    assert Metric("name", "counter", "", "").exported == "ray_name_total"
    assert Metric("name", "gauge", "", "").exported == "ray_name"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Metric, float]]:
    """What Ray's instruments were called with."""
    calls: list[tuple[Metric, float]] = []

    def instrument(metric: Metric) -> Callable[[float, dict[str, str]], None]:
        return lambda value, tags: calls.append((metric, value))

    monkeypatch.setattr(recording, "_instrument", instrument)
    return calls


def test_ray_is_not_asked_to_count_nothing(calls) -> None:
    serve = ServeRecorder()
    serve.record(metrics.UNDERRUNS, 0)
    serve.record(metrics.SILENCE, 0.0)
    assert calls == [(metrics.SILENCE, 0.0)]


def test_gauges_alone_are_set_again_to_their_last_value(calls) -> None:
    serve = ServeRecorder()
    for open_streams in (1, 2, 0):
        serve.record(metrics.STREAMS_OPEN, open_streams)
    serve.record(metrics.UNDERRUNS, 3)
    calls.clear()
    serve.refresh()
    assert calls == [(metrics.STREAMS_OPEN, 0)]


def test_outside_a_replica_nothing_is_recorded() -> None:
    assert recorder() is UNRECORDED
    for metric in METRICS:
        recorder().record(metric, 1.0, **dict.fromkeys(metric.tags, "any"))
