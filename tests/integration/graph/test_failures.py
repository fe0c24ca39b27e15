"""What happens when a client, a stage or the room is gone: real Ray, fake engines."""

import asyncio
import time

import httpx
import pytest
import ray
from ray import serve

from deployments.thinker.fake import audio_tokens_of
from tests.integration.graph.conftest import (
    MODEL,
    fake_graph,
    replica_record,
    requests_in_thinker,
    served,
    speech_body,
)


async def test_without_recovery_a_killed_token2wav_is_an_error_and_the_next_request_works(
    base_url,
):
    slow = {"seconds_per_delta": 0.3}
    config = fake_graph(thinker={"engine_kwargs": slow}, recovery={"tries": 0})
    with served(config):
        url, body = f"{base_url}/v1/audio/speech", speech_body("to be killed " * 8)
        replica = replica_of("Token2Wav")
        async with httpx.AsyncClient(timeout=60) as plain:
            as_events = {**body, "stream_format": "sse"}
            async with (
                plain.stream("POST", url, json=body) as raw,
                plain.stream("POST", url, json=as_events) as events,
            ):
                assert raw.status_code == events.status_code == 200
                chunks, lines = raw.aiter_raw(), events.aiter_lines()
                await asyncio.gather(anext(chunks), anext(lines))
                ray.kill(replica)
                with pytest.raises(httpx.HTTPError):
                    async for _ in chunks:
                        pass
                received = []
                with pytest.raises(httpx.HTTPError):
                    async for line in lines:
                        received.append(line)
            assert "event: error" in received  # before the connection broke
            await until_spoken(plain, base_url, "hi", within_s=60)


async def test_a_spoilt_engine_turns_the_health_bad_within_10_s_and_is_replaced(base_url):
    config = fake_graph(thinker={"engine_kwargs": {"spoilt_by": "poison"}})
    with served(config):
        async with httpx.AsyncClient(timeout=60) as plain:
            before = replica_record("Thinker")["Name"]
            spoilt = await plain.post(f"{base_url}/v1/audio/speech", json=speech_body("poison"))
            assert spoilt.status_code == 503, spoilt.text
            began_s = time.monotonic()
            while (await plain.get(f"{base_url}/health")).status_code == 200:
                assert time.monotonic() - began_s < 10
                await asyncio.sleep(0.1)
            await until_spoken(plain, base_url, "hi", within_s=60)
            assert replica_record("Thinker")["Name"] != before


async def until_spoken(plain: httpx.AsyncClient, base_url: str, text: str, within_s: float) -> None:
    """Ask again until the answer comes whole; nothing but "not now" may come before it."""
    deadline = time.monotonic() + within_s
    url = f"{base_url}/v1/audio/speech"
    while (again := await plain.post(url, json=speech_body(text))).status_code != 200:
        assert again.status_code == 503, again.text
        assert time.monotonic() < deadline
        await asyncio.sleep(0.5)
    assert len(again.content) == 2 * 960 * len(audio_tokens_of(text))


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


def replica_of(deployment: str) -> ray.actor.ActorHandle:
    return ray.get_actor(replica_record(deployment)["Name"], namespace="serve")
