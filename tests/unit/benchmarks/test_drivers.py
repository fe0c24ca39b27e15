"""Every driver of a measurement loads: most of them run on a GPU alone, where nobody tests."""

import importlib
import importlib.util
import pkgutil

import pytest

from tests import benchmarks

NEED_TRITON = {"tests.benchmarks.resident_streams", "tests.benchmarks.token2wav_resident"}
DRIVERS = [
    module.name for module in pkgutil.walk_packages(benchmarks.__path__, "tests.benchmarks.")
]


@pytest.mark.parametrize("name", DRIVERS)
def test_a_driver_loads(name: str) -> None:
    if name in NEED_TRITON and not importlib.util.find_spec("triton"):
        pytest.skip("needs Triton")
    importlib.import_module(name)
