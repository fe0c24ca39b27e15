"""A replica of either stage is killed while it speaks: nobody hears it."""

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Any

import numpy as np
import openai
import pytest
from ray._private.state import actors

from deployments.thinker.fake import audio_tokens_of
from tests.integration.graph.conftest import MODEL, fake_graph, on_node, served

STREAMS = 8
TEXT = "a sentence that is long enough to be spoken for some seconds, number "


@pytest.fixture(scope="module")
def application(base_url):
    config = fake_graph(
        thinker={
            "deployment_config": on_node(num_replicas=2),
            "engine_kwargs": {"seconds_per_delta": 0.1},
        },
        token2wav={"deployment_config": on_node(num_replicas=2)},
    )
    with served(config) as name:
        yield name


@pytest.fixture
def client(base_url, application):
    return openai.AsyncOpenAI(base_url=f"{base_url}/v1", api_key="none", max_retries=0)


def kill_one(deployment: str, application: str) -> None:
    """SIGKILL, as the kernel does it to a process that has taken too much memory."""
    records: list[dict[str, Any]] = [
        one
        for one in actors().values()
        if one["State"] == "ALIVE" and f"{application}#{deployment}#" in one["Name"]
    ]
    os.kill(max(record["Pid"] for record in records), signal.SIGKILL)


async def speak(client: openai.AsyncOpenAI, text: str, begun: Callable[[], None]) -> bytes:
    sound = b""
    async with client.audio.speech.with_streaming_response.create(
        model=MODEL, voice="default", input=text, response_format="pcm"
    ) as answer:
        async for piece in answer.iter_bytes():
            sound += piece
            begun()
    return sound


@pytest.mark.timeout(200)
@pytest.mark.parametrize("killed", [("Token2Wav",), ("Thinker",), ("Token2Wav", "Thinker")])
async def test_every_listener_hears_every_sample_once(client, application, killed):
    texts = [f"{TEXT}{number}" for number in range(STREAMS)]
    speaking = 0
    all_speak = asyncio.Event()

    def one_more() -> Callable[[], None]:
        heard = False

        def begun() -> None:
            nonlocal heard, speaking
            speaking += not heard
            heard = True
            if speaking == STREAMS:
                all_speak.set()

        return begun

    answers = [asyncio.ensure_future(speak(client, text, one_more())) for text in texts]
    await asyncio.wait_for(all_speak.wait(), 60)
    for deployment in killed:
        kill_one(deployment, application)
        await asyncio.sleep(0.5)
    for text, sound in zip(texts, await asyncio.gather(*answers), strict=True):
        assert np.array_equal(np.frombuffer(sound, "<i2"), np.repeat(audio_tokens_of(text), 960))
