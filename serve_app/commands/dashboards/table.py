"""The table of docs/metrics.md."""

from deployments.metrics import METRICS, Metric


def table() -> str:
    """All metrics in Markdown, a row each."""
    rows = [
        "| In Prometheus | Kind | Unit | Tags | What it says | Buckets up to |",
        "|---|---|---|---|---|---|",
        *map(_row, METRICS),
    ]
    return "\n".join(rows) + "\n"


def _row(metric: Metric) -> str:
    cells = (
        f"`{metric.exported}`",
        metric.kind,
        metric.unit,
        ", ".join(f"`{tag}`" for tag in metric.tags),
        metric.sentence,
        ", ".join(f"{limit:g}" for limit in metric.buckets),
    )
    return f"| {' | '.join(cells)} |"
