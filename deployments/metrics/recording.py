"""Where the values of metrics go: to Ray Serve in a replica, and nowhere in other processes."""

from functools import cache
from typing import Any, Protocol

from deployments.metrics.definitions import METRICS, Metric


class Recorder(Protocol):
    """Where values of metrics go."""

    def record(self, metric: Metric, value: float = 1.0, **tags: str) -> None:
        """Count `value` (nothing where it is 0), or observe it, or set a gauge to it.

        `tags` are all those of the metric.
        """

    def refresh(self) -> None:
        """Set all gauges again. Ray's agents forget one that has not been set for 20 s."""


class Unrecorded:
    """Records nothing."""

    def record(self, metric: Metric, value: float = 1.0, **tags: str) -> None: ...
    def refresh(self) -> None: ...


UNRECORDED = Unrecorded()


class ServeRecorder:
    """Records through Ray Serve, in a replica."""

    def __init__(self) -> None:
        self._record = {metric: _instrument(metric) for metric in METRICS}
        self._gauges: dict[Metric, float] = {}

    def record(self, metric: Metric, value: float = 1.0, **tags: str) -> None:
        if metric.kind == "gauge":
            self._gauges[metric] = value
        if value or metric.kind != "counter":  # Ray refuses to count nothing
            self._record[metric](value, tags)

    def refresh(self) -> None:
        for metric, value in self._gauges.items():
            self._record[metric](value, {})


def _instrument(metric: Metric) -> Any:
    """Ray's function that takes a value and its tags."""
    from ray.serve import metrics

    what = {"description": metric.sentence, "tag_keys": metric.tags}
    if metric.kind == "counter":
        return metrics.Counter(metric.name, **what).inc
    if metric.kind == "gauge":
        return metrics.Gauge(metric.name, **what).set
    return metrics.Histogram(metric.name, boundaries=list(metric.buckets), **what).observe


@cache
def recorder() -> Recorder:
    """That of this process, which records nothing unless it is a replica of Ray Serve's."""
    from ray import serve
    from ray.serve.exceptions import RayServeException

    try:
        serve.get_replica_context()
    except RayServeException:
        return UNRECORDED
    return ServeRecorder()
