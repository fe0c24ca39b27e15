"""Triton's kernels run in its interpreter here, on tiny sizes.

Without Triton they are skipped, unless `REQUIRE_TRITON` is set, as `make test` does.
"""

import os
from importlib import import_module
from importlib.util import find_spec

import pytest
import torch

collect_ignore: list[str] = []
if torch.cuda.is_available():
    # One process has its kernels either interpreted or compiled, and `tests/gpu` says more.
    collect_ignore += ["test_solver.py", "test_encoder.py", "test_vocoder.py", "test_engine.py"]
else:
    os.environ["TRITON_INTERPRET"] = "1"  # read when a kernel is defined
if "REQUIRE_TRITON" in os.environ:
    import_module("triton")  # before a test can skip for want of it


@pytest.fixture(autouse=True)
def quick_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles are wide: the interpreter's time goes by programs, not by their size."""
    if find_spec("triton") is None or torch.cuda.is_available():
        return
    from deployments.token2wav.resident.kernels import convolution, waves
    from tests.unit.deployments.token2wav_resident.interpreter import without_idle_work

    without_idle_work(monkeypatch)
    tiles = convolution.tile_sizes
    monkeypatch.setattr(convolution, "tile_sizes", lambda *sizes: {**tiles(*sizes), "BT": 1024})
    for module, tile in ((convolution, "SNAKED"), (convolution, "RAISED"), (waves, "SPECTRA")):
        monkeypatch.setattr(module, tile, 1024)
