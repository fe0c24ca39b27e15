"""CPU time and memory of another process, as Linux counts them."""

import os
from pathlib import Path

TICKS_A_S = os.sysconf("SC_CLK_TCK")
KIB = 1024


def cpu_s(pid: int) -> float:
    """That all of its threads have had, in user and system mode."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / TICKS_A_S


def resident_bytes(pid: int) -> int:
    """The memory that it holds."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (line,) = [one for one in lines if one.startswith("VmRSS:")]
    return int(line.split()[1]) * KIB
