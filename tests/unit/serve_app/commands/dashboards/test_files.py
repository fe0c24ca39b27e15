"""What the repository holds of the metrics is what their table says now."""

import json
import re

import pytest
import yaml

from deployments import metrics
from deployments.metrics import METRICS, Metric
from serve_app.commands.cli import main
from serve_app.commands.dashboards.alerts import alerts
from serve_app.commands.dashboards.command import text_of
from serve_app.commands.dashboards.dashboard import dashboard
from serve_app.commands.dashboards.queries import NO_GAP_S
from tests.places import ROOT

FILES = {
    "dashboard": ROOT / "cluster/grafana/step-audio2.json",
    "alerts": ROOT / "cluster/prometheus/alerts.yaml",
}
SERIES = re.compile(r"ray_\w+")
MATCHED = re.compile(r'(\w+)=~?"')
NOT_TAGS = {"application", "le"}  # Ray's, and a bucket's limit


def series_of(metric: Metric) -> set[str]:
    """The names that Prometheus knows a metric by."""
    endings = ("_bucket", "_count") if metric.kind == "histogram" else ("",)
    return {metric.exported + ending for ending in endings}


def expressions() -> list[str]:
    targets = [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]
    return targets + [rule["expr"] for group in alerts()["groups"] for rule in group["rules"]]


def test_the_page_has_the_table() -> None:
    page = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    assert text_of("table") in page, "put what `step-audio2 metrics` prints into docs/metrics.md"


@pytest.mark.parametrize("form", FILES)
def test_a_file_is_what_the_command_prints(form, capsys) -> None:
    with pytest.raises(SystemExit) as left:
        main(["metrics", form])
    assert not left.value.code
    written = FILES[form].read_text(encoding="utf-8")
    assert written == capsys.readouterr().out, f"write it anew: step-audio2 metrics {form}"


def test_the_files_can_be_read() -> None:
    assert json.loads(text_of("dashboard")) == dashboard()
    assert yaml.safe_load(text_of("alerts")) == alerts()


@pytest.mark.parametrize("expression", expressions())
def test_a_query_names_series_and_tags_that_exist(expression) -> None:
    names = set(SERIES.findall(expression))
    assert names
    asked = [metric for metric in METRICS if series_of(metric) & names]
    assert names <= set().union(*map(series_of, asked))
    by = re.findall(r"by \(([^)]*)\)", expression)
    tags = {tag.strip() for group in by for tag in group.split(",")} | set(
        MATCHED.findall(expression)
    )
    assert tags - NOT_TAGS - {"replica"} <= {tag for metric in asked for tag in metric.tags}
    assert expression.count("(") == expression.count(")")


def test_each_metric_has_a_panel_that_asks_for_it() -> None:
    panels = dashboard()["panels"]
    assert len(panels) == len(METRICS)
    for metric, panel in zip(METRICS, panels, strict=True):
        assert all(
            series_of(metric) & set(SERIES.findall(target["expr"])) for target in panel["targets"]
        )


def test_panels_do_not_overlap() -> None:
    places = [tuple(panel["gridPos"].values()) for panel in dashboard()["panels"]]
    assert len(set(places)) == len(places)
    assert all(x + width <= 24 for x, _, width, _ in places)


def test_the_limit_of_a_gap_is_a_bucket() -> None:
    assert NO_GAP_S in metrics.SILENCE.buckets


def test_there_are_four_alerts_and_the_page_names_them() -> None:
    names = [rule["alert"] for group in alerts()["groups"] for rule in group["rules"]]
    page = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    assert len(names) == 4
    assert all(f"| `{name}` |" in page for name in names)
