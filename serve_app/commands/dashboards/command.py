"""`step-audio2 metrics`: prints what the repository holds of them, made anew from their table."""

import json
from typing import Literal

import yaml

from serve_app.commands.dashboards.alerts import alerts
from serve_app.commands.dashboards.dashboard import dashboard
from serve_app.commands.dashboards.table import table

Form = Literal["table", "dashboard", "alerts"]


def text_of(form: Form) -> str:
    """The Markdown table, Grafana's JSON, or Prometheus' rules in YAML; it ends with a newline."""
    if form == "table":
        return table()
    if form == "dashboard":
        return json.dumps(dashboard(), indent=2) + "\n"
    return yaml.safe_dump(alerts(), sort_keys=False, width=100)
