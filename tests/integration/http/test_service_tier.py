"""`service_tier`: a request that lets others go first does so in both stages."""

import io
from typing import Any

import pytest
import soundfile
from openai import AsyncOpenAI, BadRequestError

from deployments.messages import ThinkerRequest
from tests.integration.http.helpers import MODEL, wav_of

ASK: list[Any] = [{"role": "user", "content": "How are you?"}]
TEXT = "Please open the window. " * 3


@pytest.fixture
def asked(graph: Any, monkeypatch: pytest.MonkeyPatch) -> list[ThinkerRequest]:
    """What the Thinker was asked."""
    requests: list[ThinkerRequest] = []
    generate = graph.thinker.generate

    def noting(request: ThinkerRequest) -> Any:
        requests.append(request)
        return generate(request)

    monkeypatch.setattr(graph.thinker, "generate", noting)
    return requests


async def send_one_of_each(openai: AsyncOpenAI, tier: str) -> None:
    extra = {"service_tier": tier}
    voice = {"voice": "anna", "response_format": "wav", "extra_body": extra}
    await openai.audio.speech.create(model=MODEL, input=TEXT, **voice)  # type: ignore[arg-type]
    file = ("a.wav", wav_of(0.5))
    await openai.audio.transcriptions.create(model=MODEL, file=file, extra_body=extra)
    await openai.chat.completions.create(model=MODEL, messages=ASK, extra_body=extra)


@pytest.mark.parametrize(("tier", "priority"), [("flex", "background"), ("priority", "live")])
async def test_flex_asks_the_graph_for_work_in_the_background_and_nothing_asks_for_more_than_live(
    openai: AsyncOpenAI, asked: list[ThinkerRequest], tier: str, priority: str
) -> None:
    await send_one_of_each(openai, tier)
    assert [request.priority for request in asked] == [priority] * 3


async def test_a_chat_says_in_which_tier_it_was_answered(openai: AsyncOpenAI) -> None:
    asked: dict[str | None, str | None] = {None: None, "auto": "default", "flex": "flex"}
    for tier, served in asked.items():
        given = {} if tier is None else {"service_tier": tier}
        answer = await openai.chat.completions.create(model=MODEL, messages=ASK, **given)  # type: ignore[call-overload]
        assert answer.service_tier == served


async def test_a_tier_that_is_none_is_refused(openai: AsyncOpenAI) -> None:
    with pytest.raises(BadRequestError, match="service_tier"):
        await openai.chat.completions.create(
            model=MODEL, messages=ASK, extra_body={"service_tier": "flexx"}
        )


@pytest.mark.parametrize("speed", [1.0, 2.0])
@pytest.mark.parametrize("form", ["wav", "flac"])
async def test_speech_that_is_not_streamed_is_a_file_that_knows_its_length(
    openai: AsyncOpenAI, form: Any, speed: float
) -> None:
    streamed = await openai.audio.speech.create(
        model=MODEL, voice="anna", input=TEXT, response_format="pcm", speed=speed
    )
    whole = await openai.audio.speech.create(
        model=MODEL,
        voice="anna",
        input=TEXT,
        response_format=form,
        speed=speed,
        extra_body={"stream": False},
    )
    assert int(whole.response.headers["content-length"]) == len(whole.content)
    assert soundfile.info(io.BytesIO(whole.content)).frames == len(streamed.content) // 2


async def test_events_that_are_not_streamed_are_refused(openai: AsyncOpenAI) -> None:
    with pytest.raises(BadRequestError, match="stream_format"):
        await openai.audio.speech.create(
            model=MODEL,
            voice="anna",
            input=TEXT,
            stream_format="sse",
            extra_body={"stream": False},
        )
