"""A result as a table for people and as JSON for programs."""

import json
import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from serve_app.bench import measures
from serve_app.bench.environment import environment
from serve_app.bench.measures import Percentiles, RequestTrace, play
from serve_app.bench.overhead import ClientOverhead
from serve_app.bench.speech import Level, SpeechResult
from serve_app.whole_files import reason, require_new_file, write_whole


def speech_results(result: SpeechResult, prebuffer_s: float) -> dict[str, Any]:
    """What a benchmark of an endpoint puts into its JSON."""
    levels = [
        {
            "load": level.arrivals.label,
            "arrivals": asdict(level.arrivals),
            "summary": asdict(level.summary),
            "requests": [_request(level, trace, prebuffer_s) for trace in level.traces],
        }
        for level in result.levels
    ]
    overhead = asdict(result.overhead) if result.overhead else None
    return {"client_overhead": overhead, "levels": levels}


class JsonFile:
    """The file of `--json`: written whole after each part of a measurement, so none is lost."""

    def __init__(self, path: Path | None, *, overwrite: bool) -> None:
        """Check the path; None writes nothing.

        Raises:
            ConfigError: it cannot be written, or exists and may not be replaced.
        """
        self._path = path
        self.failure: str | None = None
        self._environment: dict[str, Any] = {}
        if path is not None:
            require_new_file(path, "--json", overwrite=overwrite)
            self._environment = environment()  # before the measurement: it imports torch

    def write(self, kind: str, settings: dict[str, Any], results: dict[str, Any]) -> None:
        """What was measured so far, where, how, and the definitions, in place of what was written.

        What cannot be written there goes to a temporary folder, and `failure` says so.
        """
        if self._path is None:
            return
        what = {"benchmark": kind, "environment": self._environment, "settings": settings}
        whole = json_bytes({**what, "definitions": measures.__doc__, **results})
        try:
            write_whole(self._path, whole)
            self.failure = None
        except OSError as error:
            self.failure = f"--json {self._path} cannot be written: {reason(error)}"
            with suppress(OSError):
                spare = Path(tempfile.gettempdir()) / f"step-audio2-bench-{os.getpid()}.json"
                write_whole(spare, whole)
                self.failure += f"; the figures are in {spare}"


def json_bytes(data: dict[str, Any]) -> bytes:
    """UTF-8 whatever the locale; arguments that are no Unicode in JSON's own escapes."""
    text = json.dumps(data, indent=1, ensure_ascii=False) + "\n"
    return text.encode("utf-8", "backslashreplace")


def print_speech(
    console: Console, levels: Sequence[Level], overhead: ClientOverhead | None
) -> None:
    """Two tables, so that each fits a terminal: what a listener notices, what the server did."""
    heard = Table(title="What a listener notices (p50 / p90 / p99)")
    for heading in ("load", "TTFA ms", "latency s", "gap ms", "no underrun", "stalled s"):
        heard.add_column(heading, justify="right")
    served = Table(title="What was served")
    for heading in ("load", "requests", "RTF", "audio-s/s", "requests/s", "audio s", "failed"):
        served.add_column(heading, justify="right")
    for level in levels:
        label, s = level.arrivals.label, level.summary
        smooth = s.requests_without_underrun
        heard.add_row(
            label,
            _three(s.ttfa_s, 1000, 0),
            _three(s.latency_s, 1, 2),
            _three(s.gap_s, 1000, 0),
            "–" if smooth is None else f"{100 * smooth:.1f} %",
            f"{s.stalled_s:.2f}",
        )
        served.add_row(
            label,
            str(s.requests),
            _three(s.rtf, 1, 3),
            f"{s.audio_s_per_s:.2f}",
            f"{s.requests_per_s:.2f}",
            f"{s.audio_s:.1f}",
            str(s.failed),
        )
    console.print(heard)
    console.print(served)
    for level in levels:
        failures = {what: n for what, n in level.summary.outcomes.items() if what != measures.OK}
        if failures:
            told = ", ".join(f"{what}: {n}" for what, n in failures.items())
            console.print(f"Failed at {level.arrivals.label}: {told}", style="red")
            for refusal in sorted({trace.refusal for trace in level.traces if trace.refusal}):
                console.print(f"  the server said: {refusal}", style="red", markup=False)
    if overhead is not None:
        console.print(
            f"The client's own share with {overhead.streams} streams (p50 / p90 / p99): "
            f"{_three(overhead.delay_s, 1000, 2)} ms a chunk; "
            f"{_three(overhead.ttfa_s, 1000, 1)} ms of TTFA where all ask at the same moment; "
            f"{100 * overhead.cpu_share:.0f} % of a core."
        )


def _request(level: Level, trace: RequestTrace, prebuffer_s: float) -> dict[str, Any]:
    first_sent_s = min(other.sent_s for other in level.traces)
    row: dict[str, Any] = {
        "input": trace.name,
        "outcome": trace.outcome,
        "sent_s": round(trace.sent_s - first_sent_s, 6),
        "latency_s": round(trace.latency_s, 6),
    }
    if trace.ok:
        playback = play(trace.arrivals, prebuffer_s)
        row |= {
            "ttfa_s": round(trace.ttfa_s, 6),
            "audio_s": round(trace.audio_s, 6),
            "underruns": playback.underruns,
            "stalled_s": round(playback.stalled_s, 6),
        }
    return row


def _three(values: Percentiles | None, scale: float, digits: int) -> str:
    if values is None:
        return "–"
    ranked = (values.p50, values.p90, values.p99)
    return " / ".join(f"{value * scale:.{digits}f}" for value in ranked)
