"""What is asked of Prometheus about each metric: PromQL, by the names that Ray exports.

Ray's agents estimate the sum of a histogram from its buckets, so no query uses a sum: quantiles and
shares come from the buckets, numbers of answers or steps from the counts.
"""

from dataclasses import dataclass

from deployments import metrics
from deployments.metrics import Metric

APPLICATION = '{application=~"$application"}'
EVERYWHERE = ""
OVER = "$__rate_interval"  # Grafana's
NO_GAP_S = 0.01  # a bucket of `SILENCE`: nobody hears less
QUANTILES = (0.5, 0.95, 0.99)


@dataclass(frozen=True, slots=True)
class Query:
    """An expression, and what its series are called."""

    expression: str
    legend: str


def queries(metric: Metric) -> tuple[Query, ...]:
    """Those of the metric's panel."""
    if metric is metrics.SILENCE:
        return (Query(with_gaps(APPLICATION, OVER), "answers with a gap"),)
    if metric is metrics.LATE_CHUNKS:
        late = f"sum by (cause) ({_rate(metric, '_count')}) / ignoring (cause) group_left () "
        return (Query(late + f"sum({_rate(metrics.CHUNKS)})", "{{cause}}"),)
    if metric.kind == "histogram":
        return tuple(
            Query(quantile(metric, share, APPLICATION, OVER), f"p{share * 100:g}")
            for share in QUANTILES
        )
    if metric is metrics.REPORTED:
        age = f"time() - max by (replica) ({metric.exported}{APPLICATION})"
        return (Query(age, "{{replica}}: seconds ago"),)
    if metric.kind == "gauge":
        return (Query(f"sum by (replica) ({metric.exported}{APPLICATION})", "{{replica}}"),)
    legend = " ".join(f"{{{{{tag}}}}}" for tag in metric.tags) or "all"
    by = f" by ({', '.join(metric.tags)})" if metric.tags else ""
    return (Query(f"sum{by} ({_rate(metric)})", legend),)


def unit(metric: Metric) -> str:
    """Grafana's name of the unit that the panel shows."""
    if metric in (metrics.SILENCE, metrics.LATE_CHUNKS):
        return "percentunit"
    if metric.kind == "counter":
        return "cps"
    return "s" if metric.unit == "s" else "short"


def quantile(metric: Metric, share: float, where: str, over: str) -> str:
    """What `share` of a histogram's values do not exceed."""
    rate = f"rate({metric.exported}_bucket{where}[{over}])"
    return f"histogram_quantile({share:g}, sum by (le) ({rate}))"


def with_gaps(where: str, over: str) -> str:
    """The share of answers in which a client heard a gap."""
    name = metrics.SILENCE.exported
    without = name + "_bucket" + _and(where, f'le="{NO_GAP_S}"')
    return f"1 - sum(rate({without}[{over}])) / sum(rate({name}_count{where}[{over}]))"


def ending(end: str, where: str, over: str) -> str:
    """The share of answers that ended so."""
    name = metrics.ANSWERS.exported
    so = _and(where, f'end="{end}"')
    return f"sum(rate({name}{so}[{over}])) / sum(rate({name}{where}[{over}]))"


def _rate(metric: Metric, series: str = "") -> str:
    return f"rate({metric.exported}{series}{APPLICATION}[{OVER}])"


def _and(where: str, more: str) -> str:
    return f"{where[:-1]}, {more}}}" if where else f"{{{more}}}"
