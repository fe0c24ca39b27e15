"""`/v1/audio/speech` of texts that are too long to be spoken in one go."""

import asyncio
import base64
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import httpx
import numpy as np
import pytest
from openai import AsyncOpenAI

from deployments.errors import EngineFailed
from deployments.messages import SpeechDelta, TextPart, ThinkerDelta, ThinkerRequest, Usage
from deployments.thinker.fake import FakeThinkerEngine, audio_tokens_of
from serve_app.graph.fake import FakeServeBackend
from serve_app.http.application import create_http_app
from serve_app.http.settings import HttpSettings
from tests.integration.http.conftest import Graph, ScriptedBackend, openai_client
from tests.integration.http.helpers import MODEL, eventually, sse_data
from tests.integration.http.humming import humming
from tests.sounds import LEAD, assert_steady, assert_streamed_length, decoded

LONGEST = ("Please open the window. " * 171)[:4096]
LIMIT_S = 4.0  # 80 letters at once
TEXT = "The first sentence stands here. And the second one is there! Is this the third? It is. " * 2
PASSAGES = (
    "The first sentence stands here.",
    "And the second one is there!",
    "Is this the third? It is.",
) * 2
TOKENS = sum(len(audio_tokens_of(passage)) for passage in PASSAGES)
SAY = {"model": MODEL, "input": TEXT, "response_format": "pcm"}


class Listening(FakeThinkerEngine):
    """Notes what it is asked; fails at a passage, or waits there."""

    def __init__(self, fails_at: int | None = None, waits_at: int | None = None) -> None:
        super().__init__()
        self.asked: list[ThinkerRequest] = []
        self.go_on = asyncio.Event()
        self._fails_at, self._waits_at = fails_at, waits_at

    async def generate(self, request: ThinkerRequest) -> AsyncGenerator[ThinkerDelta]:
        self.asked.append(request)
        if len(self.asked) == self._fails_at:
            raise EngineFailed("it died")
        if len(self.asked) == self._waits_at:
            await self.go_on.wait()
        async with aclosing(super().generate(request)) as deltas:
            async for delta in deltas:
                yield delta

    def texts(self) -> list[str]:
        parts = [request.messages[-1].parts[0] for request in self.asked]
        return [part.text for part in parts if isinstance(part, TextPart)]


def graph_of(thinker: FakeThinkerEngine, **settings: object) -> Graph:
    graph = Graph(**settings)  # type: ignore[arg-type]
    graph.backend = FakeServeBackend(thinker, graph.synthesizer)
    graph.backend._started = True
    graph.app = create_http_app(graph.backend, graph.settings)
    return graph


@asynccontextmanager
async def asking(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        yield client


async def test_all_4096_characters_are_spoken_in_passages_that_any_context_holds() -> None:
    thinker = Listening()
    async with openai_client(graph_of(thinker).app) as openai:
        answer = await openai.audio.speech.create(
            model=MODEL, voice="anna", input=LONGEST, response_format="pcm"
        )
    assert " ".join(thinker.texts()) == LONGEST.strip()
    assert len(thinker.asked) > 10
    assert max(request.needed_tokens for request in thinker.asked) < 500
    said = sum(len(audio_tokens_of(text)) for text in thinker.texts())
    assert len(answer.content) >= 2 * 960 * said


async def test_more_characters_are_spoken_where_the_configuration_allows_them() -> None:
    thinker = Listening()
    text = "Please open the window. " * 200
    async with asking(graph_of(thinker, max_input_chars=5000).app) as client:
        answer = await client.post("/v1/audio/speech", json=SAY | {"input": text})
    assert answer.status_code == 200
    assert " ".join(thinker.texts()) == text.strip()


async def test_each_passage_is_asked_for_as_a_short_text_is() -> None:
    thinker = Listening()
    how = {"seed": 11, "temperature": 0.5, "instructions": "Slowly."}
    async with asking(graph_of(thinker, max_passage_s=LIMIT_S).app) as client:
        await client.post("/v1/audio/speech", json=SAY | how)
        together = list(thinker.asked)
        for passage in PASSAGES:
            await client.post("/v1/audio/speech", json=SAY | how | {"input": passage})
    assert thinker.texts() == [*PASSAGES, *PASSAGES]
    for one, alone in zip(together, thinker.asked[len(PASSAGES) :], strict=True):
        assert (one.messages, one.sampling) == (alone.messages, alone.sampling)
        assert (one.reply, one.needed_tokens) == (alone.reply, alone.needed_tokens)
    assert len({request.request_id for request in together}) == 1


@pytest.mark.parametrize("form", ["wav", "mp3", "opus"])
async def test_no_seam_can_be_heard_between_passages(form: str) -> None:
    async with asking(humming(max_passage_s=LIMIT_S)) as client:
        answer = await client.post("/v1/audio/speech", json=SAY | {"response_format": form})
    sound = decoded(answer.content)
    assert_streamed_length(len(sound), TOKENS, form)
    assert_steady(sound, TOKENS * 960, LEAD.get(form, 0))


async def test_the_usage_is_that_of_all_passages() -> None:
    async with asking(graph_of(Listening(), max_passage_s=LIMIT_S).app) as client:
        whole = await client.post("/v1/audio/speech", json=SAY | {"stream_format": "sse"})
        alone = [
            sse_data((await client.post("/v1/audio/speech", json=body)).text)[-1]["usage"]
            for body in (SAY | {"stream_format": "sse", "input": text} for text in PASSAGES)
        ]
    usage = sse_data(whole.text)[-1]["usage"]
    assert usage["output_tokens"] == TOKENS
    assert usage == {key: sum(one[key] for one in alone) for key in usage}


async def test_the_first_sound_waits_for_the_first_passage_alone(
    listening: Callable[[Any], Any],
) -> None:
    thinker = Listening(waits_at=2)
    graph = graph_of(thinker, max_passage_s=LIMIT_S)
    async with (
        listening(graph.app) as url,
        httpx.AsyncClient(base_url=url, timeout=5) as client,
        client.stream("POST", "/v1/audio/speech", json=SAY) as answer,
    ):
        pieces = answer.aiter_bytes()
        assert await anext(pieces)
        assert len(thinker.asked) <= 2
        thinker.go_on.set()
        async for _ in pieces:
            pass
    assert len(thinker.asked) == len(PASSAGES)


async def test_a_client_that_leaves_ends_every_passage(listening: Callable[[Any], Any]) -> None:
    thinker = Listening(waits_at=3)
    graph = graph_of(thinker, max_passage_s=LIMIT_S)
    async with listening(graph.app) as url, httpx.AsyncClient(base_url=url) as client:
        async with client.stream("POST", "/v1/audio/speech", json=SAY) as answer:
            await anext(answer.aiter_bytes())
            assert await eventually(lambda: len(thinker.asked) == 3)
        assert await eventually(lambda: not graph.synthesizer.open_streams)
        assert thinker.active_requests() == 0
    assert len(thinker.asked) == 3


async def test_a_passage_that_fails_breaks_the_body(listening: Callable[[Any], Any]) -> None:
    graph = graph_of(Listening(fails_at=3), max_passage_s=LIMIT_S)
    async with listening(graph.app) as url, httpx.AsyncClient(base_url=url) as client:
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
            await client.post("/v1/audio/speech", json=SAY)
    assert not graph.synthesizer.open_streams


async def test_a_passage_that_fails_ends_the_events_with_an_error() -> None:
    async with asking(graph_of(Listening(fails_at=3), max_passage_s=LIMIT_S).app) as client:
        answer = await client.post("/v1/audio/speech", json=SAY | {"stream_format": "sse"})
    *deltas, last = sse_data(answer.text)
    assert len(deltas) > 1
    assert (last["type"], last["error"]["code"]) == ("error", "engine_failed")


async def test_a_first_passage_that_fails_is_a_status() -> None:
    async with asking(graph_of(Listening(fails_at=1), max_passage_s=LIMIT_S).app) as client:
        assert (await client.post("/v1/audio/speech", json=SAY)).status_code == 503


async def test_a_stage_that_knows_no_passages_makes_no_short_file() -> None:
    """While a server is updated, an older Token2Wav speaks the first passage and no other."""
    only_first = SpeechDelta(b"\1\1" * 960, finish_reason="stop", usage=Usage(9, 1))
    app = create_http_app(
        ScriptedBackend(only_first), HttpSettings(models=(MODEL,), max_passage_s=LIMIT_S)
    )
    async with asking(app) as client:
        answer = await client.post("/v1/audio/speech", json=SAY | {"stream_format": "sse"})
    assert sse_data(answer.text)[-1]["error"]["code"] == "engine_failed"


async def test_emoji_and_marks_of_emphasis_are_not_spoken(openai: AsyncOpenAI) -> None:
    async def said(text: str) -> bytes:
        answer = await openai.audio.speech.create(
            model=MODEL, voice="anna", input=text, response_format="pcm"
        )
        return answer.content

    assert await said("This is **very** good! 🎉") == await said("This is very good!")


async def test_many_long_texts_at_once_do_not_mix() -> None:
    graph = graph_of(Listening(), max_passage_s=LIMIT_S)

    async def say(number: int) -> bytes:
        async with asking(graph.app) as client:
            body = SAY | {"input": f"This is number {number} of many. " * 8, "stream_format": "sse"}
            answer = await client.post("/v1/audio/speech", json=body)
        *deltas, _ = sse_data(answer.text)
        return b"".join(base64.b64decode(delta["audio"]) for delta in deltas)

    sounds = await asyncio.gather(*map(say, range(10, 18)))
    for number, sound in enumerate(sounds, 10):
        expected = np.repeat(audio_tokens_of(f"This is number {number} of many."), 960)
        heard = np.frombuffer(sound, "<i2")
        assert np.array_equal(heard[: len(expected)], expected)
    assert graph.idle()
