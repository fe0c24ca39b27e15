"""GPU memory in use, sampled by nvidia-smi beside whatever runs: it sees every process.

The GPUs are those of `CUDA_VISIBLE_DEVICES`, or all; "the first" is the first of them.
"""

import os
import subprocess
import threading
import time
from dataclasses import dataclass, field

PERIOD_MS = 250
QUERY = "--format=csv,noheader,nounits"


@dataclass(frozen=True, slots=True)
class Sample:
    at_s: float  # time.monotonic
    gpu: int
    used_mib: int
    busy_percent: int


@dataclass(slots=True)
class GpuSampler:
    """Samples from `start` to `stop`; without nvidia-smi it stays empty."""

    samples: list[Sample] = field(default_factory=list)
    _process: "subprocess.Popen[str] | None" = None

    def start(self) -> None:
        fields = "--query-gpu=index,memory.used,utilization.gpu"
        command = ["nvidia-smi", *_visible(), fields, QUERY, f"--loop-ms={PERIOD_MS}"]
        try:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        except OSError:
            return
        threading.Thread(target=self._read, daemon=True).start()

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def peak_mib(self, since_s: float = 0.0) -> int | None:
        """The most that was in use of the first GPU after `since_s`; None without a sample."""
        return next(iter(self.peaks_mib(since_s).values()), None)

    def peaks_mib(self, since_s: float = 0.0) -> dict[int, int]:
        """The same of every GPU, the first one first."""
        peaks: dict[int, int] = {}
        for sample in self._since(since_s):
            peaks[sample.gpu] = max(sample.used_mib, peaks.get(sample.gpu, 0))
        return peaks

    def mean_busy_percent(self, since_s: float) -> dict[int, float]:
        """For every GPU, how much of the time since `since_s` some kernel ran."""
        busy: dict[int, list[int]] = {}
        for sample in self._since(since_s):
            busy.setdefault(sample.gpu, []).append(sample.busy_percent)
        return {gpu: sum(percents) / len(percents) for gpu, percents in busy.items()}

    def _since(self, since_s: float) -> list[Sample]:
        return [sample for sample in self.samples if sample.at_s >= since_s]

    def _read(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        for line in self._process.stdout:
            try:
                gpu, used, busy = (int(cell) for cell in line.split(","))
            except ValueError:
                continue  # a field that this GPU does not report
            self.samples.append(Sample(time.monotonic(), gpu, used, busy))


def describe_gpu() -> dict[str, object] | None:
    """Of the first GPU, without touching it, and how many there are; None without one."""
    found = _query("--query-gpu=name,driver_version,memory.total")
    if not found:
        return None
    name, driver, total_mib = (cell.strip() for cell in found[0].split(","))
    return {"name": name, "driver": driver, "memory_mib": int(total_mib), "count": len(found)}


def processes() -> list[str]:
    """`name, MiB` of each process that holds GPU memory, where the driver tells."""
    return _query("--query-compute-apps=process_name,used_memory")


def _visible() -> list[str]:
    ids = os.environ.get("CUDA_VISIBLE_DEVICES")
    return [f"--id={ids}"] if ids else []


def _query(fields: str) -> list[str]:
    try:
        answer = subprocess.run(
            ["nvidia-smi", *_visible(), fields, QUERY],
            capture_output=True,
            text=True,
            timeout=20,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return answer.stdout.strip().splitlines() if answer.returncode == 0 else []
