"""`make cluster`: which GPUs each of its nodes sees."""

import importlib.util
from types import ModuleType

import pytest

from tests.places import ROOT


@pytest.fixture(scope="module")
def local_nodes() -> ModuleType:
    """`cluster/` is no package: its script is run by its path."""
    spec = importlib.util.spec_from_file_location("local_nodes", ROOT / "cluster/local_nodes.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("seen", "gpus", "devices"),
    [
        (None, 1, ["0", "1", "2", "3"]),
        (None, 2, ["0,1", "2,3", "4,5", "6,7"]),
        ("4,5,6,7", 1, ["4", "5", "6", "7"]),
        ("GPU-a,GPU-b", 1, ["GPU-a", "GPU-b", "", ""]),
    ],
)
def test_each_node_sees_gpus_of_its_own(
    local_nodes: ModuleType, seen: str | None, gpus: int, devices: list[str]
) -> None:
    environment = {} if seen is None else {"CUDA_VISIBLE_DEVICES": seen}
    shown = [local_nodes.own_devices(number, gpus, environment) for number in range(4)]
    assert shown == [{"CUDA_VISIBLE_DEVICES": one} for one in devices]


def test_nodes_without_gpus_are_left_as_they_are(local_nodes: ModuleType) -> None:
    assert local_nodes.own_devices(1, 0, {"CUDA_VISIBLE_DEVICES": "3"}) == {}
