"""Every driver of a measurement loads: most of them run on a GPU alone, where nobody tests."""

import importlib
import importlib.util
import pkgutil

import pytest

from tests import benchmarks

NEEDED = {  # that no test environment has in full
    "tests.benchmarks.resident_streams": "triton",
    "tests.benchmarks.token2wav_resident": "triton",
    "tests.benchmarks.turns.speak": "hibari",
}
DRIVERS = [
    module.name for module in pkgutil.walk_packages(benchmarks.__path__, "tests.benchmarks.")
]


@pytest.mark.parametrize("name", DRIVERS)
def test_a_driver_loads(name: str) -> None:
    if name in NEEDED and not importlib.util.find_spec(NEEDED[name]):
        pytest.skip(f"needs {NEEDED[name]}")
    importlib.import_module(name)
