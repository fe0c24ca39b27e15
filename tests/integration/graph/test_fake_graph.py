"""The real graph on a real Ray of two nodes, with engines that answer at once."""

import asyncio
import time
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest

from deployments.chunker import ChunkSchedule
from deployments.thinker.fake import FakeThinkerEngine, audio_tokens_of
from deployments.token2wav.fake import FakeSynthesizer
from serve_app.graph.fake import FakeServeBackend
from serve_app.http.application import create_http_app
from serve_app.http.settings import HttpSettings
from tests.integration.graph.conftest import MODEL, fake_graph, on_node, replica_record, served


@pytest.fixture(scope="module")
def client(base_url, tmp_path_factory):
    started = time.monotonic()
    config = fake_graph(
        thinker={"deployment_config": on_node("first_node")},
        token2wav={"deployment_config": on_node("second_node"), "max_streams": 16},
    )
    store = tmp_path_factory.mktemp("voices")
    with served(config.model_copy(update={"voice_store": str(store)})):
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


async def test_a_long_text_sounds_as_it_does_in_one_process(client):
    text = "This is one of very many sentences. " * 40
    backend = FakeServeBackend(FakeThinkerEngine(), FakeSynthesizer(ChunkSchedule()))
    await backend.start()
    app = create_http_app(backend, HttpSettings(models=(MODEL,)))
    body = {"model": MODEL, "input": text, "response_format": "pcm"}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://here"
    ) as here:
        expected = (await here.post("/v1/audio/speech", json=body)).content
    assert len(expected) > 2 * 960 * len(audio_tokens_of(text)) * 0.9
    assert (await spoken(client, text)).tobytes() == expected


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


async def test_an_uploaded_voice_is_spoken_in_on_the_other_node(client):
    sample = Path("deployments/token2wav/assets/default_voice.wav")
    voice = await client.audio.voices.create(name="mine", audio_sample=sample, consent="none")
    for name in ("mine", voice.id):
        answer = await client.audio.speech.create(
            model=MODEL, voice=name, input="hello", response_format="pcm"
        )
        assert answer.content
    await client.audio.voices.delete(voice.id)
    with pytest.raises(openai.BadRequestError, match="no voice 'mine'"):
        await client.audio.speech.create(model=MODEL, voice="mine", input="hello")


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
