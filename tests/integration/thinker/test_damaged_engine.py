"""Engines on a real vLLM that are alive and would answer nonsense."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import numpy as np
import pytest

from deployments.errors import AudioUnreadable, EngineFailed
from deployments.messages import SamplingOptions, ThinkerRequest
from deployments.model_files import ModelFiles
from deployments.thinker import tasks
from deployments.thinker.engine import VllmEngine
from deployments.thinker.thinker_config import ThinkerConfig
from tests.integration.thinker.conftest import collect

NANO = Path(__file__).parents[3] / "configs" / "nano"
GREEDY = SamplingOptions(temperature=0.0, max_tokens=40)
NOTICED_WITHIN_S = 10.0
CHECKED_EVERY_S = 0.5


@pytest.fixture
async def nano() -> AsyncIterator[VllmEngine]:
    damage = {"worker_extension_cls": "tests.integration.thinker.damage.Damage"}
    engine = VllmEngine(ModelFiles(NANO), ThinkerConfig(engine_kwargs=damage))
    await engine.start()
    yield engine
    engine.close()


def ask(text: str) -> ThinkerRequest:
    return ThinkerRequest("r", tasks.converse(text), sampling=GREEDY)


async def said(engine: VllmEngine, text: str) -> str:
    return "".join(delta.text for delta in await collect(engine, ask(text)))


async def test_an_answer_that_is_not_finite_fails_and_the_engine_is_given_up(nano):
    healthy = await said(nano, "Please open the window.")
    assert "!!" not in healthy
    await nano.check_health()
    poison = nano._prompts.build(tasks.converse("Q"), "text").token_ids
    usual = nano._prompts.build(tasks.converse("Please open the window."), "text").token_ids
    (token_id,) = set(poison) - set(usual)
    async with aclosing(nano.generate(ask("Please open the window."))) as others:
        await anext(others)
        await nano._runner.llm.collective_rpc("forget_a_token", args=(token_id,))
        with pytest.raises(EngineFailed, match="not finite"):
            await said(nano, "Q")
        async for _ in others:  # an answer that is finite itself goes on
            pass
    with pytest.raises(EngineFailed, match="not finite"):
        await nano.check_health()
    with pytest.raises(EngineFailed, match="not finite"):
        await said(nano, "Please open the window.")


async def test_the_health_check_turns_bad_within_10_s_of_nonsense(nano):
    await nano.check_health()
    await nano._runner.llm.collective_rpc("talk_nonsense")
    began_s = time.monotonic()
    with pytest.raises(EngineFailed, match="nonsense"):
        while time.monotonic() - began_s < NOTICED_WITHIN_S:
            await nano.check_health()
            await asyncio.sleep(CHECKED_EVERY_S)
    with pytest.raises(EngineFailed, match="nonsense"):
        await said(nano, "Please open the window.")


async def test_a_recording_whose_spectrum_overflows_is_refused_and_spoils_nothing(engine):
    healthy = await said(engine, "Please open the window.")
    for level in (1e20, 3e38):
        loud = np.full(16_000, level, np.float32)
        loud[::2] *= -1
        with pytest.raises(AudioUnreadable):
            await collect(engine, ThinkerRequest("loud", tasks.transcribe(loud), sampling=GREEDY))
    for value in (np.nan, np.inf):
        with pytest.raises(AudioUnreadable):
            broken = np.full(16_000, value, np.float32)
            await collect(engine, ThinkerRequest("nan", tasks.transcribe(broken), sampling=GREEDY))
    await engine.check_health()
    assert await said(engine, "Please open the window.") == healthy
