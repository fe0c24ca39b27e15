"""Hostile and honest traffic for an hour: `make soak`, or `python -m tests.benchmarks.run_soak`.

Starts the server of `make serve` at a port of its own. Honest clients ask alone first, then beside
hostile ones. Nobody may be answered as no server may answer, the logs may hold no traceback and no
error, honest answers stay right, and memory, descriptors and threads stay flat. Prints a table
every five minutes, writes JSON every minute, and fails where one does not hold.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from serve_app.whole_files import write_whole
from tests.benchmarks.run_hostile import honest_sounds
from tests.benchmarks.soak.log_watch import LogWatch
from tests.benchmarks.soak.outcomes import Tally
from tests.benchmarks.soak.processes import Sample, sample
from tests.benchmarks.soak.server import CPU_CONFIG, SoakedServer, running
from tests.benchmarks.soak.target import Target, client
from tests.benchmarks.soak.traffic import Load, Traffic
from tests.benchmarks.soak.verdict import report, table

SAMPLE_EVERY_S = 10.0
WRITE_EVERY_S = 60.0
PRINT_EVERY_S = 300.0
QUIET_SHARE = 0.05  # of the time, three minutes of an hour
QUIET_PAUSE_S = 3.0  # many sentences in little time: later ones are compared with them
USUAL = Load()
MODEL, VOICES = "step-audio-2-mini", ("low", "high")  # of configs/cpu.yaml


@dataclass(slots=True)
class Soak:
    """A server, what was seen of it, and where that is written."""

    server: SoakedServer
    out: Path
    about: dict[str, Any]
    quiet_s: float
    tally: Tally = field(default_factory=Tally)
    samples: list[Sample] = field(default_factory=list)
    logs: LogWatch = field(default_factory=LogWatch)

    def document(self) -> dict[str, Any]:
        now_s = self.tally.now_s
        return {**self.about, **report(self.tally, self.samples, self.logs, self.quiet_s, now_s)}

    def write(self) -> dict[str, Any]:
        """The figures so far, also for a run that is killed."""
        self.logs.read(self.server.logs())
        document = self.document()
        write_whole(self.out, (json.dumps(document, indent=1) + "\n").encode())
        return document

    async def watch(self) -> None:
        """Sample, write and print until cancelled."""
        written_s = printed_s = 0.0
        while True:
            self.samples.append(sample(self.server.pids(), self.tally.now_s))
            if self.tally.now_s - written_s >= WRITE_EVERY_S:
                written_s, document = self.tally.now_s, self.write()
                if written_s - printed_s >= PRINT_EVERY_S:
                    printed_s = written_s
                    print(table(document), flush=True)
            await asyncio.sleep(SAMPLE_EVERY_S)


async def soak(server: SoakedServer, seconds: float, load: Load, out: Path) -> dict[str, Any]:
    """Ask for that long, and report."""
    about = {
        "command": ["python", "-m", "tests.benchmarks.run_soak", *sys.argv[1:]],
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    run = Soak(server, out, about, quiet_s=QUIET_SHARE * seconds)
    run.logs.pass_over(server.logs())
    ends_s = time.monotonic() + seconds
    async with client(server.url) as http:
        target = Target(http, MODEL, VOICES)
        traffic = Traffic(target, tuple(honest_sounds(kept=True)), load, run.tally)
        async with asyncio.TaskGroup() as group:  # a server that is gone ends the traffic too
            watching = group.create_task(run.watch())
            await traffic.quiet(run.tally.began_s + run.quiet_s, QUIET_PAUSE_S)
            run.quiet_s = run.tally.now_s
            await traffic.mixed(ends_s)
            watching.cancel()
    return run.write()


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--seconds", type=float, default=3600.0)
    add("--pause", type=float, default=USUAL.pause_s, help="of an honest client, mean seconds")
    add("--hostile-pause", type=float, default=USUAL.hostile_pause_s)
    add("--honest-clients", type=int, default=USUAL.honest_clients)
    add("--hostile-clients", type=int, default=USUAL.hostile_clients)
    add("--out", type=Path, default=Path("soak.json"))
    add(
        "--logs", type=Path, help="an empty folder to keep the server's logs; else they are removed"
    )
    return parser.parse_args()


@contextmanager
def log_folder(kept: Path | None) -> Iterator[Path]:
    """Where the server writes; a short path, since Ray puts sockets there."""
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="soak-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def main() -> int:
    options = parse_options()
    load = Load(
        options.honest_clients,
        options.hostile_clients,
        options.pause,
        options.hostile_pause,
    )
    with log_folder(options.logs) as folder, running(CPU_CONFIG, folder) as server:
        document = asyncio.run(soak(server, options.seconds, load, options.out))
    print(table(document), flush=True)
    return 0 if document["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
