"""How far a batch is: a bar on a terminal, a line now and then elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from serve_app.commands.console import say

REPORT_EVERY_S = 30.0  # where the output is no terminal
RATE_OVER_S = 30.0  # the rate and the time left are those of the latest lines


class RateColumn(ProgressColumn):
    """Lines in a second."""

    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:.1f}/s")


@contextmanager
def progress_of(console: Console, done: int, total: int) -> Iterator[Callable[[], None]]:
    """The progress of a run that begins with `done` lines; gives what is called for each line."""
    if not console.is_terminal:
        yield Report(console, done, total).advance
        return
    columns = (
        TextColumn("lines"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Progress(*columns, console=console, speed_estimate_period=RATE_OVER_S) as progress:
        task = progress.add_task("", total=total, completed=done)
        yield lambda: progress.advance(task)


class Report:
    """Says every half minute how far the run is."""

    def __init__(
        self,
        console: Console,
        done: int,
        total: int,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console, self._total, self._now_s = console, total, now_s
        self._done = self._done_then = done
        self._then_s = now_s()

    def advance(self) -> None:
        """One line more is answered."""
        self._done += 1
        now_s = self._now_s()
        if now_s - self._then_s < REPORT_EVERY_S:
            return
        rate = (self._done - self._done_then) / (now_s - self._then_s)
        left_s = (self._total - self._done) / rate
        say(
            self._console,
            f"{self._done} of {self._total} lines, {rate:.1f}/s, {left_s:.0f} s left",
        )
        self._done_then, self._then_s = self._done, now_s
