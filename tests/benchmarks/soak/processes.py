"""What a server's processes hold: memory, file descriptors, threads, and whether they are the same.

Read from /proc, as `serve_app.commands.serving.session` finds them.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

KIB = 1024
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
REPLICA = re.compile(r"ServeReplica:[^:]*:(?P<deployment>\w+)")
ENGINE = "VLLM::EngineCore"
LONGEST_NAME = 40


@dataclass(slots=True)
class Sample:
    """All processes of the server at one moment."""

    at_s: float
    processes: int = 0
    resident_bytes: int = 0
    private_bytes: int = 0  # written by the processes, swapped out or not: no file's pages
    descriptors: int = 0
    threads: int = 0
    cpu_s: float = 0.0  # since they began
    by_name: Counter[str] = field(default_factory=Counter)  # private bytes
    stages: dict[str, list[int]] = field(default_factory=dict)  # deployment -> pids


def sample(pids: Iterable[int], at_s: float) -> Sample:
    """What `pids` hold now; one that ends meanwhile is passed over."""
    taken = Sample(at_s)
    for pid in pids:
        with suppress(OSError, KeyError, IndexError):
            _add(taken, pid, Path(f"/proc/{pid}"))
    return taken


def _add(taken: Sample, pid: int, folder: Path) -> None:
    status = _status(folder)
    name = name_of((folder / "cmdline").read_bytes(), status["Name"])
    descriptors = len(os.listdir(folder / "fd"))
    private = sum(_bytes(status[key]) for key in ("RssAnon", "VmSwap"))
    taken.processes += 1
    taken.resident_bytes += _bytes(status["VmRSS"])
    taken.private_bytes += private
    taken.threads += int(status["Threads"])
    taken.descriptors += descriptors
    taken.cpu_s += _cpu_s(folder)
    taken.by_name[name] += private
    if name.startswith("stage "):
        taken.stages.setdefault(name.removeprefix("stage "), []).append(pid)


def name_of(command: bytes, short: str) -> str:
    """What a process is called in a report: a replica by its deployment."""
    text = command.replace(b"\0", b" ").decode(errors="replace").strip()
    if found := REPLICA.search(text):
        return f"stage {found['deployment']}"
    if text.startswith(ENGINE):
        return "stage engine of the Thinker"
    first = text.split(" ")[0] if text else short
    if first.startswith("ray::"):
        return first.partition(".")[0]  # an actor adds the method that it runs
    return Path(first).name[:LONGEST_NAME]


def _status(folder: Path) -> dict[str, str]:
    lines = (folder / "status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _bytes(value: str) -> int:
    return int(value.split()[0]) * KIB


def _cpu_s(folder: Path) -> float:
    # pid (command) state …: a command may hold anything; user and system time are the 14th and 15th
    fields = (folder / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S
