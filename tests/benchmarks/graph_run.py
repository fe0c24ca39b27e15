"""What is known of a run of `run_graph`, as it grows and as it is written."""

import json
import os
import sys
import time
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from serve_app.bench import measures
from serve_app.bench.environment import PACKAGES
from serve_app.bench.report import json_bytes
from serve_app.whole_files import write_whole
from tests.benchmarks.gpu_memory import describe_gpu

STOP_S = 20.0  # of the budget, kept for the end


@dataclass(slots=True)
class Run:
    """Everything that is known so far; written after every phase."""

    options: dict[str, Any]
    out: Path
    began_s: float = field(default_factory=time.monotonic)
    document: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.document |= {
            "benchmark": "graph",
            "command": ["python", "-m", "tests.benchmarks.run_graph", *sys.argv[1:]],
            "options": self.options,
            "gpu": describe_gpu(),
            "cpus": os.cpu_count(),
            "environment": {n: v for n, v in os.environ.items() if n.startswith("VLLM_")},
            "packages": {name: found for name in PACKAGES if (found := _version(name))},
            "definitions": measures.__doc__,
            "seconds": {},
            "phases": [],
            "failure": None,
        }

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.began_s

    @property
    def left_s(self) -> float:
        return self.options["budget"] - STOP_S - self.elapsed_s

    def say(self, text: str) -> None:
        print(f"[{self.elapsed_s:6.1f} s] {text}", flush=True)

    def keep_steps(self, phase: str, steps: list[dict[str, Any]]) -> None:
        """Beside the document: every step of Token2Wav, a line a phase."""
        with (self.out / "steps.jsonl").open("a", encoding="utf-8") as lines:
            lines.write(json.dumps({"phase": phase, "steps": steps}) + "\n")

    def write(self) -> None:
        write_whole(self.out / "graph.json", json_bytes(self.document))


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
