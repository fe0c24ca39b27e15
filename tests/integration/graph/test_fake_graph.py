"""The real graph on a real Ray of two nodes, with engines that answer at once."""

import asyncio
import time

import httpx
import numpy as np
import openai
import pytest
import ray
from ray import serve
from ray._private.state import actors

from deployments.thinker.fake import audio_tokens_of
from tests.integration.graph.conftest import (
    MODEL,
    fake_graph,
    on_node,
    requests_in_thinker,
    served,
)


@pytest.fixture(scope="module")
def client(base_url):
    started = time.monotonic()
    config = fake_graph(
        thinker={"deployment_config": on_node("first_node")},
        token2wav={"deployment_config": on_node("second_node"), "max_streams": 16},
    )
    with served(config):
        assert time.monotonic() - started < 30  # a few seconds on an idle machine
        yield openai.AsyncOpenAI(base_url=f"{base_url}/v1", api_key="none", max_retries=0)


async def spoken(client: openai.AsyncOpenAI, text: str) -> np.ndarray:
    answer = await client.audio.speech.create(
        model=MODEL, voice="default", input=text, response_format="pcm"
    )
    return np.frombuffer(answer.content, dtype="<i2")


def nodes_of(*names: str) -> list[str]:
    """The node that each deployment's replica runs on."""
    return [replica_record(name)["Address"]["NodeID"] for name in names]


async def test_two_nodes_stream_a_whole_answer(client):
    assert len(set(nodes_of("Thinker", "Token2Wav"))) == 2
    text = "a sentence that is long enough for several chunks"
    assert np.array_equal(await spoken(client, text), np.repeat(audio_tokens_of(text), 960))


async def test_eight_concurrent_streams_do_not_mix(client):
    texts = [f"stream number {i} " * (i + 1) for i in range(8)]
    answers = await asyncio.gather(*(spoken(client, text) for text in texts))
    for text, samples in zip(texts, answers, strict=True):
        assert np.array_equal(samples, np.repeat(audio_tokens_of(text), 960))


async def test_chat_answers_in_text_and_aloud(client):
    messages = [{"role": "user", "content": "hello"}]
    text = await client.chat.completions.create(model=MODEL, messages=messages)
    assert text.choices[0].message.content == "hello"
    aloud = await client.chat.completions.create(
        model=MODEL,
        messages=messages,
        modalities=["text", "audio"],
        audio={"voice": "default", "format": "pcm16"},
    )
    assert aloud.choices[0].message.audio.transcript == "hello"


async def test_an_unknown_voice_is_a_400_from_the_other_node(client):
    with pytest.raises(openai.BadRequestError, match="nobody"):
        await client.audio.speech.create(
            model=MODEL, voice="nobody", input="hello", response_format="pcm"
        )


async def test_health_and_models(client, base_url):
    async with httpx.AsyncClient(base_url=base_url) as plain:
        assert (await plain.get("/health")).status_code == 200
        assert (await plain.get("/docs")).status_code == 200
    assert [model.id for model in (await client.models.list()).data] == [MODEL]


async def test_a_killed_token2wav_gives_its_client_an_error_and_the_next_request_works(base_url):
    slow = {"seconds_per_delta": 0.3}
    with served(fake_graph(thinker={"engine_kwargs": slow})):
        url, body = f"{base_url}/v1/audio/speech", speech_body("to be killed " * 8)
        async with httpx.AsyncClient(timeout=60) as plain:
            async with plain.stream("POST", url, json=body) as answer:
                assert answer.status_code == 200
                chunks = answer.aiter_raw()
                await anext(chunks)
                ray.kill(replica_of("Token2Wav"))
                with pytest.raises(httpx.HTTPError):
                    async for _ in chunks:
                        pass
            deadline = time.monotonic() + 60
            while (again := await plain.post(url, json=speech_body("hi"))).status_code != 200:
                assert again.status_code == 503, again.text
                assert time.monotonic() < deadline
                await asyncio.sleep(0.5)
            assert len(again.content) == 2 * 960 * len(audio_tokens_of("hi"))


async def test_a_disconnect_frees_the_thinker(base_url):
    slow = {"seconds_per_delta": 0.2}
    with served(fake_graph(thinker={"engine_kwargs": slow})) as application:
        async with httpx.AsyncClient(timeout=60) as plain:
            body = speech_body("nobody hears the end of this " * 20)
            async with plain.stream("POST", f"{base_url}/v1/audio/speech", json=body) as answer:
                chunks = answer.aiter_raw()  # held: a collected iterator closes the stream
                await anext(chunks)
                assert await requests_in_thinker(application) == 1
        deadline = time.monotonic() + 10
        while await requests_in_thinker(application):
            assert time.monotonic() < deadline, "the request is still in the engine"
            await asyncio.sleep(0.05)


async def test_a_full_server_answers_429_with_retry_after(base_url):
    config = fake_graph(
        thinker={"engine_kwargs": {"seconds_per_delta": 0.2}}, token2wav={"max_streams": 1}
    )
    with served(config):
        async with httpx.AsyncClient(timeout=60) as plain:
            url = f"{base_url}/v1/audio/speech"
            async with plain.stream("POST", url, json=speech_body("first " * 20)) as answer:
                chunks = answer.aiter_raw()
                await anext(chunks)
                refused = await plain.post(url, json=speech_body("second"))
                assert refused.status_code == 429, (refused.headers, len(refused.content))
                assert int(refused.headers["retry-after"]) >= 1
                assert refused.json()["error"]["code"] == "server_full"


async def test_a_text_only_server_refuses_to_speak_and_starts_no_token2wav(base_url):
    config = fake_graph().model_copy(update={"token2wav": None})
    with served(config) as application:
        deployments = serve.status().applications[application].deployments
        assert set(deployments) == {"Thinker", "Ingress"}
        async with httpx.AsyncClient(timeout=60) as plain:
            refused = await plain.post(f"{base_url}/v1/audio/speech", json=speech_body("hello"))
            assert refused.status_code == 400
            chat = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}
            answer = await plain.post(f"{base_url}/v1/chat/completions", json=chat)
            assert answer.json()["choices"][0]["message"]["content"] == "hello"


def speech_body(text: str) -> dict[str, str]:
    return {"model": MODEL, "voice": "default", "input": text, "response_format": "pcm"}


def replica_of(deployment: str) -> ray.actor.ActorHandle:
    return ray.get_actor(replica_record(deployment)["Name"], namespace="serve")


def replica_record(deployment: str) -> dict:
    """What Ray's control store knows of a deployment's running replica."""
    running = [actor for actor in actors().values() if actor["State"] == "ALIVE"]
    return next(actor for actor in running if f"#{deployment}#" in actor["Name"])
