"""One tiny checkpoint for all tests of this folder."""

import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from serve_app.checkpoint import make_checkpoint


@dataclass(frozen=True)
class Made:
    root: Path
    seconds: float
    messages: list[str]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = tmp_path_factory.mktemp("checkpoint") / "tiny"
    messages: list[str] = []
    start = time.perf_counter()
    make_checkpoint(root, size="tiny", on_progress=messages.append)
    return Made(root, time.perf_counter() - start, messages)
