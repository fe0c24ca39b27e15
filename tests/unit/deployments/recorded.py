"""A stand-in for where metrics go: it keeps what it gets."""

from deployments.metrics import METRICS, Metric


class Recorded:
    """Refuses what Ray would: a metric that is not in the table, or tags that are not its own."""

    def __init__(self) -> None:
        self.calls = 0
        self._values: list[tuple[Metric, float, dict[str, str]]] = []

    def record(self, metric: Metric, value: float = 1.0, **tags: str) -> None:
        assert metric in METRICS
        assert tags.keys() == set(metric.tags)
        self.calls += 1
        if value or metric.kind != "counter":
            self._values.append((metric, value, tags))

    def refresh(self) -> None: ...

    def of(self, metric: Metric, **tags: str) -> list[float]:
        """The values of a metric that have at least these tags, in their order."""
        return [
            value
            for kept, value, its in self._values
            if kept is metric and its.items() >= tags.items()
        ]

    def tags_of(self, metric: Metric) -> list[dict[str, str]]:
        return [its for kept, _, its in self._values if kept is metric]

    def clear(self) -> None:
        self._values.clear()
