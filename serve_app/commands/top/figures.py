"""Sums, shares and quantiles of the samples of a scrape, as Prometheus computes them."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator

from prometheus_client.samples import Sample

from deployments.metrics import Metric

Series = tuple[str, frozenset[tuple[str, str]]]


class Figures:
    """The samples of one application, counters and buckets since an earlier scrape."""

    def __init__(self, samples: Iterable[Sample], earlier: Iterable[Sample] = ()) -> None:
        """Without `earlier` they count from the start of each replica."""
        self._samples = tuple(samples)
        self._before = {_series(one): one.value for one in earlier}

    def counted(self, metric: Metric, **labels: str) -> int:
        """How often; of a histogram, how many values."""
        return round(sum(self._since(one) for one in self._of(metric, "_count", labels)))

    def counted_by(self, metric: Metric, *tags: str) -> dict[tuple[str, ...], int]:
        """How often, for each combination of values of `tags` that came up at all."""
        found: defaultdict[tuple[str, ...], float] = defaultdict(float)
        for one in self._of(metric, "_count", {}):
            found[tuple(one.labels.get(tag, "") for tag in tags)] += self._since(one)
        return {tags: round(count) for tags, count in sorted(found.items()) if round(count)}

    def quantile(self, metric: Metric, share: float) -> float | None:
        """What `share` of a histogram's values do not exceed; None where there are none.

        As Prometheus' `histogram_quantile`: linear within a bucket, and the highest limit for what
        is above all.
        """
        counts: defaultdict[float, float] = defaultdict(float)
        for one in self._of(metric, "_bucket", {}):
            counts[float(one.labels["le"])] += self._since(one)
        total = counts.get(math.inf, 0.0)
        if not total:
            return None
        below, below_count = 0.0, 0.0
        for limit, count in sorted(counts.items()):
            if count >= share * total and count > below_count:
                part = (share * total - below_count) / (count - below_count)
                return below if limit == math.inf else below + (limit - below) * part
            below, below_count = limit, count
        return below

    def gauge(self, name: str, **labels: str) -> float | None:
        """The newest value, summed where several series match; None where none is exported."""
        values = [one.value for one in self._named(name, labels)]
        return sum(values) if values else None

    def _of(self, metric: Metric, ending: str, labels: dict[str, str]) -> Iterator[Sample]:
        histogram = metric.kind == "histogram"
        return self._named(metric.exported + (ending if histogram else ""), labels)

    def _named(self, name: str, labels: dict[str, str]) -> Iterator[Sample]:
        for one in self._samples:
            if one.name == name and labels.items() <= one.labels.items():
                yield one

    def _since(self, sample: Sample) -> float:
        """A counter's growth; one that is lower than before has begun again."""
        before = self._before.get(_series(sample), 0.0)
        return sample.value - before if sample.value >= before else sample.value


def _series(sample: Sample) -> Series:
    return sample.name, frozenset(sample.labels.items())
