"""The command: reads the cluster once, or every few seconds until Ctrl-C."""

import json
import time
from collections import deque
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from rich.console import Console
from rich.live import Live

from deployments.errors import ConfigError
from serve_app.commands.console import say
from serve_app.commands.top.cluster import Cluster, Reading
from serve_app.commands.top.screen import screen
from serve_app.commands.top.view import View, view_of

OVER_S = 60.0  # what the live screen counts and times


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says."""

    dashboard: str
    application: str | None
    once: bool
    as_json: bool
    every_s: float


def run(options: Options, console: Console) -> None:
    """Show the cluster until Ctrl-C, or once.

    Raises:
        ConfigError: no Ray answers there, or it serves no Step-Audio 2.
    """
    with Cluster(options.dashboard) as cluster:
        first = cluster.read()
        view = view_of(first, options.application)
        if options.as_json:
            print(json.dumps(as_values(view), indent=2))
        elif options.once or not console.is_terminal:
            console.print(screen(view))
        else:
            _watch(cluster, first, options, console)


def as_values(view: View) -> dict[str, object]:
    """A view as JSON has it; times are ISO 8601."""
    at = datetime.fromtimestamp(view.at, UTC).isoformat(timespec="seconds")
    return {**asdict(view), "at": at}


def _watch(cluster: Cluster, first: Reading, options: Options, console: Console) -> None:
    """Redraw until Ctrl-C. A cluster that stops answering is said below what was seen last."""
    readings = deque([first])
    view = view_of(first, options.application)
    try:
        with Live(screen(view), console=console, screen=True, auto_refresh=False) as live:
            while True:
                time.sleep(options.every_s)
                try:
                    readings.append(cluster.read())
                    view = view_of(readings[-1], options.application, earlier(readings))
                    complaint = None
                except ConfigError as error:
                    complaint = str(error)
                live.update(screen(view, complaint), refresh=True)
    except KeyboardInterrupt:
        say(console, f"{options.dashboard} at {datetime.now().astimezone():%H:%M:%S}")


def earlier(readings: "deque[Reading]") -> Reading:
    """The reading to compare the last one with: the newest that is `OVER_S` old.

    Those before it are dropped. The first one, while none is that old.
    """
    limit = readings[-1].at - OVER_S
    while len(readings) > 2 and readings[1].at <= limit:
        readings.popleft()
    return readings[0]
