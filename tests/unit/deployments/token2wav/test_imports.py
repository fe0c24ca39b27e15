"""What it takes to import a part of Token2Wav."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["synthesizer", "contract", "schedule", "admission"])
def test_neither_torch_nor_ray_is_imported_with(module: str) -> None:
    code = (
        f"import sys, deployments.token2wav.{module}; "
        "assert not sys.modules.keys() & {'torch', 'ray'}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
