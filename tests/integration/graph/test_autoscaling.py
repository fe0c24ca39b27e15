"""The policy in Ray Serve's controller: a stage that is full grows, and shrinks without a loss."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from ray import serve

from deployments.thinker.fake import audio_tokens_of
from tests.integration.graph.conftest import fake_graph, on_node, speech_body
from tests.integration.graph.deployed import deploy, states, wait_until

APPLICATION = "step-audio2-autoscaled"
PLACES = 4  # streams of a Token2Wav
SECONDS_PER_DELTA = 0.8  # as long as it plays
KEPT_S = 6.0  # what was needed in that time is kept; an hour by default
HEARD = "a sentence that is long enough to be spoken " * 8  # a minute; a replica starts meanwhile
SAMPLES_OF_A_TOKEN = 960


def scaled(least: int, most: int) -> dict[str, Any]:
    return {
        "min_replicas": least,
        "max_replicas": most,
        "metrics_interval_s": 0.5,
        "upscale_delay_s": 0,
        "downscale_delay_s": 0,
    }


@pytest.fixture(scope="module")
def url(base_url: str) -> Iterator[str]:
    drained = on_node(graceful_shutdown_timeout_s=60)
    graph = fake_graph(
        thinker={
            "engine_kwargs": {"seconds_per_delta": SECONDS_PER_DELTA},
            "sampling": {"max_tokens": 2048},
        },
        token2wav={"max_streams": PLACES, "deployment_config": drained},
        http={"max_passage_s": 1000},  # a text is spoken as one
        recovery={"tries": 0, "silence_s": 30},  # a cut stream is an error, on a busy machine too
    )
    kwargs = {"mean_s": 3.0, "urgent_s": 1.0, "keep_s": KEPT_S, "turn_s": KEPT_S}
    policy = {
        "policy_function": "deployments.scaling.ray_policy:Headroom",
        "policy_kwargs": kwargs,
    }
    deployments = [
        {"name": "Thinker", "autoscaling_config": scaled(1, 1)},
        {"name": "Token2Wav", "autoscaling_config": scaled(1, 2)},
    ]
    deploy(APPLICATION, graph, autoscaling_policy=policy, deployments=deployments)
    wait_until(APPLICATION, lambda one: one.status == "RUNNING")
    yield f"{base_url}/{APPLICATION}"
    serve.delete(APPLICATION)


async def until(holds: Callable[[dict[str, int]], bool]) -> None:
    """Wait for how many Token2Wavs are in which state."""
    await asyncio.to_thread(wait_until, APPLICATION, lambda one: holds(states(one, "Token2Wav")))


class Listener:
    """Hears one answer, to its end or until it leaves."""

    def __init__(self, client: httpx.AsyncClient, text: str) -> None:
        self._client, self._text = client, text
        self.begun = asyncio.Event()
        self.answer = asyncio.create_task(self._listen())

    async def _listen(self) -> bytes:
        sound, body = b"", speech_body(self._text)
        async with self._client.stream("POST", "/v1/audio/speech", json=body) as answer:
            answer.raise_for_status()
            async for piece in answer.aiter_bytes():
                sound += piece
                self.begun.set()
        return sound

    async def heard_all(self) -> bool:
        samples = np.frombuffer(await self.answer, "<i2")
        wanted = np.repeat(audio_tokens_of(self._text), SAMPLES_OF_A_TOKEN)
        return np.array_equal(samples, wanted)


async def begun(client: httpx.AsyncClient, *texts: str) -> list[Listener]:
    """Listeners who hear something."""
    listeners = [Listener(client, text) for text in texts]
    async with asyncio.timeout(20):
        await asyncio.gather(*(one.begun.wait() for one in listeners))
    return listeners


@pytest.mark.timeout(400)
async def test_a_full_stage_grows_and_one_that_is_taken_away_ends_its_streams(url: str) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
        passing = await begun(client, *[f"{HEARD}{number}" for number in range(PLACES - 1)])
        first = await begun(client, f"{HEARD} in the first replica")
        await until(lambda states: states == {"RUNNING": 2})
        second = await begun(client, f"{HEARD} in the second")  # the first has no place left
        for one in passing:
            one.answer.cancel()
        await until(lambda states: "STOPPING" in states)
        staying = first + second
        ended = [one.answer.exception() for one in staying if one.answer.done()]
        assert ended == []  # one of both is in it
        assert all([await one.heard_all() for one in staying])
        await until(lambda states: states == {"RUNNING": 1})
