"""GPU memory in use, sampled by nvidia-smi beside whatever runs: it sees every process."""

import subprocess
import threading
import time
from dataclasses import dataclass, field

PERIOD_MS = 250
QUERY = "--format=csv,noheader,nounits"


@dataclass(frozen=True, slots=True)
class Sample:
    at_s: float  # time.monotonic
    used_mib: int
    busy_percent: int


@dataclass(slots=True)
class GpuSampler:
    """Samples from `start` to `stop`; without nvidia-smi it stays empty."""

    samples: list[Sample] = field(default_factory=list)
    _process: "subprocess.Popen[str] | None" = None

    def start(self) -> None:
        fields = "--query-gpu=memory.used,utilization.gpu"
        command = ["nvidia-smi", "--id=0", fields, QUERY, f"--loop-ms={PERIOD_MS}"]
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
        """The most that was in use after `since_s`; None without a sample."""
        return max((s.used_mib for s in self.samples if s.at_s >= since_s), default=None)

    def mean_busy_percent(self, since_s: float) -> float | None:
        """How much of the time since `since_s` some kernel ran."""
        busy = [s.busy_percent for s in self.samples if s.at_s >= since_s]
        return sum(busy) / len(busy) if busy else None

    def _read(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        for line in self._process.stdout:
            try:
                used, busy = (int(cell) for cell in line.split(","))
            except ValueError:
                continue  # a field that this GPU does not report
            self.samples.append(Sample(time.monotonic(), used, busy))


def describe_gpu() -> dict[str, object] | None:
    """Name, driver and total memory of the first GPU, without touching it; None without one."""
    found = _query("--query-gpu=name,driver_version,memory.total")
    if not found:
        return None
    name, driver, total_mib = (cell.strip() for cell in found[0].split(","))
    return {"name": name, "driver": driver, "memory_mib": int(total_mib)}


def processes() -> list[str]:
    """`name, MiB` of each process that holds GPU memory, where the driver tells."""
    return _query("--query-compute-apps=process_name,used_memory")


def _query(fields: str) -> list[str]:
    try:
        answer = subprocess.run(
            ["nvidia-smi", "--id=0", fields, QUERY], capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return answer.stdout.strip().splitlines() if answer.returncode == 0 else []
