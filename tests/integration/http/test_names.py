"""OpenAI's names for models and voices: clients find their defaults, an operator his own."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest
from openai import AsyncOpenAI, BadRequestError, NotFoundError

from deployments.messages import SpeechDelta, SpeechRequest
from serve_app.http.application import create_http_app
from serve_app.http.openai_names import OPENAI_MODELS, OPENAI_VOICES
from serve_app.http.settings import HttpSettings
from tests.integration.http.conftest import ScriptedBackend, openai_client
from tests.integration.http.helpers import MODEL
from tests.sounds import tone

VOICES = ("default", "anna", "ben")


class Noting(ScriptedBackend):
    """Notes the voice of each answer."""

    def __init__(self) -> None:
        super().__init__(SpeechDelta(pcm=tone(4800), finish_reason="stop"))
        self.asked: list[object] = []

    def speech(self, request: SpeechRequest) -> AsyncGenerator[SpeechDelta]:
        self.asked.append(request.voice)
        return super().speech(request)

    async def voices(self) -> tuple[str, ...]:
        return VOICES


async def say(openai: AsyncOpenAI, voice: Any, model: str = MODEL) -> None:
    await openai.audio.speech.create(model=model, voice=voice, input="Hi")


async def chat(openai: AsyncOpenAI, voice: Any, model: str = MODEL) -> None:
    await openai.chat.completions.create(
        model=model,
        modalities=["text", "audio"],
        audio={"voice": voice, "format": "mp3"},
        messages=[{"role": "user", "content": "Hi"}],
    )


@pytest.mark.parametrize("ask", [say, chat])
async def test_openai_s_voices_are_spread_over_the_configured_ones(ask: Any) -> None:
    backend = Noting()
    async with openai_client(create_http_app(backend, HttpSettings(models=(MODEL,)))) as openai:
        for voice in OPENAI_VOICES:
            await ask(openai, voice)
            await ask(openai, {"id": voice})
    assert backend.asked == [VOICES[i % 3] for i in range(13) for _ in range(2)]


@pytest.mark.parametrize("ask", [say, chat])
async def test_every_model_of_openai_s_is_served_by_its_name(ask: Any) -> None:
    backend = Noting()
    async with openai_client(create_http_app(backend, HttpSettings(models=(MODEL,)))) as openai:
        for model in OPENAI_MODELS:
            await ask(openai, "alloy", model)
    assert len(backend.asked) == len(OPENAI_MODELS)


async def test_the_defaults_of_openai_s_client_transcribe(
    openai: AsyncOpenAI, recording: tuple[str, bytes]
) -> None:
    for model in ("whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe"):
        answer = await openai.audio.transcriptions.create(model=model, file=recording)
        assert answer.text
    translated = await openai.audio.translations.create(model="whisper-1", file=recording)  # type: ignore[call-overload]
    assert translated.text


async def test_aliases_are_not_listed_but_can_be_looked_up(openai: AsyncOpenAI) -> None:
    assert [model.id for model in (await openai.models.list()).data] == [MODEL]
    assert (await openai.models.retrieve("gpt-4o-mini-tts")).id == "gpt-4o-mini-tts"
    with pytest.raises(NotFoundError, match=f"no model 'gpt-4o'; served here: {MODEL}"):
        await openai.models.retrieve("gpt-4o")


async def test_an_operator_switches_the_aliases_off() -> None:
    settings = HttpSettings(models=(MODEL,), model_aliases=(), voice_aliases={})
    backend = Noting()
    async with openai_client(create_http_app(backend, settings)) as openai:
        with pytest.raises(NotFoundError, match="no model 'tts-1'"):
            await say(openai, "anna", "tts-1")
        await say(openai, "alloy")
    assert backend.asked == ["alloy"]  # which no synthesizer knows


async def test_an_operator_sets_his_own() -> None:
    aliases = {"narrator": "ben", "alloy": None, "ash": None}
    settings = HttpSettings(models=(MODEL,), model_aliases=("house",), voice_aliases=aliases)
    backend = Noting()
    async with openai_client(create_http_app(backend, settings)) as openai:
        for voice in ("narrator", "alloy", "ash", "anna"):
            await say(openai, voice, "house")
        with pytest.raises(NotFoundError):
            await say(openai, "anna", "tts-1")
    assert backend.asked == ["ben", "anna", "ben", "anna"]


async def test_a_name_that_is_neither_a_voice_nor_an_alias_is_refused(openai: AsyncOpenAI) -> None:
    with pytest.raises(BadRequestError, match="no voice 'nobody'; known voices: default, anna"):
        await say(openai, "nobody")
