"""Forced speech through the real engine on a tiny checkpoint."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deployments.messages import SamplingOptions, ThinkerDelta, ThinkerRequest
from deployments.model_files import ModelFiles
from deployments.thinker import tasks
from deployments.thinker.engine import VllmEngine
from deployments.thinker.thinker_config import ThinkerConfig
from serve_app.bench.forced_speech import OPTION
from serve_app.checkpoint import make_checkpoint

PROCESSOR = "serve_app.bench.forced_speech:ForcedSpeech"


@pytest.fixture(scope="module")
async def engine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[VllmEngine]:
    directory = Path(tmp_path_factory.mktemp("tiny"))
    make_checkpoint(directory, size="tiny")
    chosen = {"logits_processors": [PROCESSOR], "additional_config": {OPTION: 15}}
    engine = VllmEngine(ModelFiles(directory), ThinkerConfig(engine_kwargs=chosen))
    await engine.start()
    yield engine
    engine.close()


async def spoken(engine: VllmEngine, number: int, max_tokens: int) -> list[ThinkerDelta]:
    request = ThinkerRequest(
        f"r{number}",
        tasks.speak(f"sentence {number}"),
        reply="speech",
        sampling=SamplingOptions(max_tokens=max_tokens),
    )
    return [delta async for delta in engine.generate(request)]


async def test_an_answer_ends_by_itself_after_the_engines_default(engine: VllmEngine) -> None:
    deltas = await spoken(engine, 0, max_tokens=100)
    usage = deltas[-1].usage
    assert deltas[-1].finish_reason == "stop"
    assert usage is not None
    assert (usage.completion_tokens, usage.audio_tokens) == (15 + 2, 12)
    assert "�" not in "".join(delta.text for delta in deltas)


async def test_max_tokens_cuts_a_longer_answer_to_the_token(engine: VllmEngine) -> None:
    deltas = await spoken(engine, 1, max_tokens=10)
    usage = deltas[-1].usage
    assert deltas[-1].finish_reason == "length"
    assert usage is not None
    assert (usage.completion_tokens, usage.audio_tokens) == (10, 8)
