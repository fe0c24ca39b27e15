"""One real vLLM engine on a tiny checkpoint, for every test of this folder."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from deployments.messages import ThinkerDelta, ThinkerRequest
from deployments.model_files import ModelFiles
from deployments.thinker.engine import VllmEngine
from deployments.thinker.thinker_config import ThinkerConfig
from serve_app.checkpoint import make_checkpoint

Answers = list[ThinkerDelta]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tiny")
    make_checkpoint(directory, size="tiny")
    return directory


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where torch puts what it compiles for the engine."""
    folder = tmp_path_factory.mktemp("compiled")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(folder))
        yield folder


@pytest.fixture(scope="session")
async def engine(tiny_model: Path, compiled: Path) -> AsyncIterator[VllmEngine]:
    engine = VllmEngine(ModelFiles(tiny_model), ThinkerConfig())
    await engine.start()
    yield engine
    engine.close()


async def collect(engine: VllmEngine, request: ThinkerRequest) -> Answers:
    """The whole answer."""
    return [delta async for delta in engine.generate(request)]


def ids_of(deltas: Answers) -> list[int]:
    return [token_id for delta in deltas for token_id in delta.token_ids]
