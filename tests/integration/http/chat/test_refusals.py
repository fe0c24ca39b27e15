"""What a chat refuses, and by which name."""

import base64
from typing import Any

import numpy as np
import pytest
from openai import AsyncOpenAI, BadRequestError

from deployments.audio_decoding import decode_audio
from tests.integration.http.chat.asks import ASK, SPOKEN
from tests.integration.http.conftest import Graph, openai_client
from tests.integration.http.helpers import MODEL, wav_of


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 2),
        ("logprobs", True),
        ("top_logprobs", 3),
        ("logit_bias", {"1": 5}),
        ("frequency_penalty", 0.5),
        ("presence_penalty", -0.5),
        ("functions", [{"name": "f"}]),
        ("prediction", {"type": "content", "content": "x"}),
        ("reasoning_effort", "high"),
        ("web_search_options", {}),
    ],
)
async def test_known_fields_that_cannot_be_honoured_are_refused(
    openai: AsyncOpenAI, field: str, value: object
) -> None:
    with pytest.raises(BadRequestError, match=f"{field}=.*is not supported") as refused:
        await openai.chat.completions.create(
            model=MODEL,
            messages=ASK,
            **{field: value},  # type: ignore[arg-type]
        )
    assert refused.value.param == field


async def test_the_same_fields_at_their_defaults_are_accepted(openai: AsyncOpenAI) -> None:
    answer = await openai.chat.completions.create(
        model=MODEL,
        messages=ASK,
        n=1,
        logprobs=False,
        frequency_penalty=0,
        presence_penalty=0.0,
        response_format={"type": "text"},
        tool_choice="auto",
        parallel_tool_calls=True,
        store=False,
        user="someone",
        extra_body={"colour": "blue"},
    )
    assert answer.choices[0].message.content == "How are you?"


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"modalities": ["text", "audio"]}, "audio"),
        (SPOKEN | {"audio": {"voice": "anna", "format": "midi"}}, "audio.format"),
        (SPOKEN | {"audio": {"voice": "anna", "format": "mp3"}, "stream": True}, "audio.format"),
        (SPOKEN | {"audio": {"voice": "anna", "format": "wav"}, "stream": True}, "audio.format"),
        (SPOKEN | {"audio": {"voice": "nobody", "format": "pcm16"}}, "voice"),
    ],
)
async def test_spoken_answers_that_cannot_be_given_are_refused(
    openai: AsyncOpenAI, more: dict[str, Any], param: str
) -> None:
    with pytest.raises(BadRequestError) as refused:
        await openai.chat.completions.create(model=MODEL, messages=ASK, **more)
    assert refused.value.param == param


@pytest.mark.parametrize(
    ("content", "param"),
    [
        ([{"type": "image_url", "image_url": {"url": "x"}}], "messages[0].content[0].type"),
        ([{"type": "input_audio"}], "messages[0].content[0]"),
        (
            [{"type": "input_audio", "input_audio": {"data": "%%%", "format": "wav"}}],
            "messages[0].content[0].input_audio.data",
        ),
        (
            [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}],
            "messages[0].content[0].input_audio",
        ),
    ],
)
async def test_bad_parts_are_refused_by_their_place(
    openai: AsyncOpenAI, content: Any, param: str
) -> None:
    with pytest.raises(BadRequestError) as refused:
        await openai.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": content}]
        )
    assert refused.value.param == param


async def test_recordings_of_one_request_share_the_limit() -> None:
    graph = Graph(max_audio_s=3.0)
    await graph.backend.start()
    data = base64.b64encode(wav_of(seconds=2)).decode()
    part: Any = {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
    async with openai_client(graph.app) as openai:
        with pytest.raises(BadRequestError, match=r"lasts 4\.0 s, the limit is 3 s"):
            await openai.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": [part, part]}]
            )


async def test_recordings_over_the_limit_of_a_request_are_not_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decoded_s: list[float] = []

    def decode(data: bytes, rate_hz: int, max_s: float) -> tuple[np.ndarray, int]:
        samples, rate_hz = decode_audio(data, rate_hz, max_s)
        decoded_s.append(len(samples) / rate_hz)
        return samples, rate_hz

    monkeypatch.setattr("serve_app.http.dependencies.decode_audio", decode)
    graph = Graph(max_audio_s=5.0)
    await graph.backend.start()
    data = base64.b64encode(wav_of(seconds=2)).decode()
    part: Any = {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
    turns: list[Any] = [{"role": "user", "content": [part, part]}] * 10
    async with openai_client(graph.app) as openai:
        with pytest.raises(BadRequestError, match=r"lasts 6\.0 s, the limit is 5 s") as refused:
            await openai.chat.completions.create(model=MODEL, messages=turns)
    assert refused.value.param == "messages[1].content[0].input_audio"
    assert decoded_s == [2.0, 2.0]
