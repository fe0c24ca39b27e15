"""A Grafana dashboard: a panel for each metric, in the order of the table."""

from typing import Any

from deployments.metrics import METRICS, Metric
from serve_app.commands.dashboards.queries import queries, unit

WIDTH, HEIGHT = 8, 8  # of Grafana's 24 columns, and rows
COLUMNS = 24 // WIDTH
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def dashboard() -> dict[str, Any]:
    """Grafana's JSON model; it asks for the data source and the applications."""
    return {
        "title": "Step-Audio 2",
        "uid": "step-audio2",
        "schemaVersion": 39,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "type": "datasource", "query": "prometheus"},
                {
                    "name": "application",
                    "type": "query",
                    "datasource": SOURCE,
                    "query": f"label_values({METRICS[0].exported}_count, application)",
                    "includeAll": True,
                    "multi": True,
                    "allValue": ".*",
                    "current": {"text": "All", "value": "$__all"},
                    "refresh": 2,
                },
            ]
        },
        "panels": [_panel(number, metric) for number, metric in enumerate(METRICS)],
    }


def _panel(number: int, metric: Metric) -> dict[str, Any]:
    name = metric.name.removeprefix("step_audio2_").removesuffix("_seconds").replace("_", " ")
    row, column = divmod(number, COLUMNS)
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": name.capitalize(),
        "description": metric.sentence,
        "datasource": SOURCE,
        "gridPos": {"x": column * WIDTH, "y": row * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": unit(metric), "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + i), "expr": query.expression, "legendFormat": query.legend}
            for i, query in enumerate(queries(metric))
        ],
    }
