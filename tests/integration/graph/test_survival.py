"""A replica of either stage is killed or hangs while it speaks: nobody hears it."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import openai
import pytest
import ray
from ray import serve
from ray._private.state import actors

from deployments.messages import ThinkerRequest
from deployments.thinker import tasks
from deployments.thinker.fake import audio_tokens_of
from deployments.token2wav.configured_voices import SHIPPED_VOICE
from serve_app.graph.handles import PREPARED_WITHIN_S
from tests.integration.graph.conftest import MODEL, fake_graph, on_node, served

STREAMS = 8
TEXT = "a sentence that is long enough to be spoken for some seconds, number "
SECONDS_PER_DELTA = 0.2  # an answer takes three seconds
FOUND_WITHIN_S = 3.0  # a replica that hangs
BUSY_S = 2.0  # more than that, where other tests use the machine
BUSY_WITHIN_S = 5.0  # a replica, of answers that last longer than that
ZOMBIE_S = 3.5  # by then a replica that was stopped has been given up, and its streams go on


@pytest.fixture(scope="module")
def application(base_url, tmp_path_factory):
    config = fake_graph(
        thinker={
            "deployment_config": on_node(num_replicas=2),
            "engine_kwargs": {"seconds_per_delta": SECONDS_PER_DELTA},
        },
        token2wav={"deployment_config": on_node(num_replicas=2)},
    )
    voices = str(tmp_path_factory.mktemp("voices"))
    with served(config.model_copy(update={"voice_store": voices})) as name:
        yield name


@pytest.fixture
def client(base_url, application):
    return openai.AsyncOpenAI(base_url=f"{base_url}/v1", api_key="none", max_retries=0)


async def busy_process(deployment: str, application: str) -> int:
    """That of the replica which has the most requests, once one has any."""
    async with asyncio.timeout(BUSY_WITHIN_S):
        while (pid := await busiest_process(deployment, application)) is None:
            await asyncio.sleep(0.1)
    return pid


async def busiest_process(deployment: str, application: str) -> int | None:
    records: list[dict[str, Any]] = [
        one
        for one in actors().values()
        if one["State"] == "ALIVE" and f"{application}#{deployment}#" in one["Name"]
    ]
    replicas = [ray.get_actor(record["Name"], namespace="serve") for record in records]
    requests = await asyncio.gather(
        *(
            replica.__ray_call__.remote(lambda one: one._replica_impl.get_num_ongoing_requests())
            for replica in replicas
        )
    )
    most = max(range(len(records)), key=lambda number: requests[number])
    return records[most]["Pid"] if requests[most] else None


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """The process hangs meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


class Listener:
    """Hears one answer, and notes how long it heard nothing."""

    def __init__(self, client: openai.AsyncOpenAI, text: str) -> None:
        self._client, self._text = client, text
        self.begun = asyncio.Event()
        self.longest_gap_s = 0.0

    async def listen(self) -> bytes:
        sound = b""
        async with self._client.audio.speech.with_streaming_response.create(
            model=MODEL, voice="default", input=self._text, response_format="pcm"
        ) as answer:
            heard_at_s = time.monotonic()
            async for piece in answer.iter_bytes():
                sound += piece
                self.begun.set()
                now_s = time.monotonic()
                self.longest_gap_s = max(self.longest_gap_s, now_s - heard_at_s)
                heard_at_s = now_s
        return sound


async def heard_while(
    client: openai.AsyncOpenAI, happens: Callable[[], Any]
) -> tuple[list[Listener], float]:
    """Many listeners, each of whom hears every sample once, whatever happens while they listen."""
    texts = [f"{TEXT}{number}" for number in range(STREAMS)]
    listeners = [Listener(client, text) for text in texts]
    answers = [asyncio.ensure_future(listener.listen()) for listener in listeners]
    async with asyncio.timeout(60):
        await asyncio.gather(*(listener.begun.wait() for listener in listeners))
    await happens()
    for text, sound in zip(texts, await asyncio.gather(*answers), strict=True):
        assert np.array_equal(np.frombuffer(sound, "<i2"), np.repeat(audio_tokens_of(text), 960))
    return listeners, max(listener.longest_gap_s for listener in listeners)


@pytest.mark.timeout(200)
@pytest.mark.parametrize("killed", [("Token2Wav",), ("Thinker",), ("Token2Wav", "Thinker")])
async def test_every_listener_hears_every_sample_once(client, application, killed):
    async def kill() -> None:
        """SIGKILL, as the kernel does it to a process that has taken too much memory."""
        for deployment in killed:
            os.kill(await busy_process(deployment, application), signal.SIGKILL)
            await asyncio.sleep(0.5)

    await heard_while(client, kill)


@pytest.mark.timeout(200)
@pytest.mark.parametrize("deployment", ["Token2Wav", "Thinker"])
async def test_a_replica_that_hangs_is_given_up_and_what_it_says_later_reaches_nobody(
    client, application, deployment
):
    async def hang() -> None:
        with stopped(await busy_process(deployment, application)):
            await asyncio.sleep(ZOMBIE_S)

    listeners, gap_s = await heard_while(client, hang)
    print(f"{deployment} stopped: the longest gap was {gap_s:.2f} s")
    assert any(listener.longest_gap_s > 1.0 for listener in listeners)  # somebody was hit
    assert gap_s <= FOUND_WITHIN_S + BUSY_S


@pytest.mark.timeout(200)
@pytest.mark.parametrize("deployment", ["Token2Wav", "Thinker"])
async def test_a_request_that_reaches_a_replica_that_hangs_is_answered_by_another(
    client, application, deployment
):
    texts = [f"{TEXT}{number} of those that come later" for number in range(STREAMS)]
    newcomers = [Listener(client, text) for text in texts]

    async def come_meanwhile() -> None:
        with stopped(await busy_process(deployment, application)):
            answers = [asyncio.ensure_future(one.listen()) for one in newcomers]
            async with asyncio.timeout(FOUND_WITHIN_S + BUSY_S):
                await asyncio.gather(*(one.begun.wait() for one in newcomers))
        for text, sound in zip(texts, await asyncio.gather(*answers), strict=True):
            assert np.array_equal(
                np.frombuffer(sound, "<i2"), np.repeat(audio_tokens_of(text), 960)
            )

    await heard_while(client, come_meanwhile)


async def test_voices_are_prepared_by_another_replica_than_one_that_hangs(client, application):
    async def upload(name: str) -> str:
        sample = (f"{name}.wav", SHIPPED_VOICE.read_bytes())
        voice = await client.audio.voices.create(name=name, audio_sample=sample, consent="cons_1")
        return voice.name

    async def upload_meanwhile() -> None:
        with stopped(await busy_process("Token2Wav", application)):
            async with asyncio.timeout(PREPARED_WITHIN_S + FOUND_WITHIN_S + BUSY_S):
                assert await asyncio.gather(*map(upload, names)) == names

    names = ["anna", "ben", "carla", "dora"]  # by chance one of them is sent to that replica
    await heard_while(client, upload_meanwhile)


async def test_a_caller_that_does_not_ask_for_heartbeats_gets_none(application):
    """A version that does not know them might take one for a delta."""
    handle = serve.get_deployment_handle("Thinker", application).options(stream=True)
    request = ThinkerRequest("bare", tasks.converse("hello"))
    deltas = [delta async for delta in handle.generate.remote(request)]
    assert "".join(delta.text for delta in deltas)
    assert not any(delta.heartbeat for delta in deltas)
