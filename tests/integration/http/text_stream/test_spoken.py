"""A text that is being written is spoken: in order, in one voice, in every format."""

import asyncio
import base64
from typing import Any

import pytest

from deployments.messages import SpeechDelta
from serve_app.http.text_stream import utterance
from tests.integration.http.conftest import Graph, ScriptedBackend
from tests.integration.http.helpers import eventually, wav_of
from tests.integration.http.text_stream.client import (
    SENTENCES,
    SOUND,
    TEXT,
    Asked,
    Served,
    connected,
    serving,
    sound_of,
)
from tests.sounds import assert_streamed_length, decoded, tone


async def test_a_text_is_spoken_whole_and_in_order_however_it_is_cut(here: Served) -> None:
    async with connected(here.url, {}) as client:
        for step in (1, 5, 1000):
            heard = await client.say(TEXT, step)
            assert heard.sound == sound_of(heard.texts())
            assert " ".join(heard.texts()) == TEXT
            done = heard.events[-1]
            assert (done["status"], done["total_sentences"]) == ("completed", len(heard.texts()))
            assert done["usage"]["output_tokens"] == len(heard.sound) // 1920
    assert here.graph.idle()


async def test_a_sentence_is_spoken_before_the_next_is_complete(
    graph: Graph, listening: Any
) -> None:
    backend = Asked(graph)
    async with serving(listening, backend, {}) as client:
        await client.send("input.text", text=SENTENCES[0] + " And")
        start = await client.event()
        assert (start["type"], start["sentence_text"]) == ("audio.start", SENTENCES[0])
        assert (start["format"], start["sample_rate"]) == ("pcm", 24_000)
        assert backend.texts() == [[SENTENCES[0]]]


async def test_sentences_that_wait_are_spoken_in_one_stream_in_one_voice_state(
    graph: Graph, listening: Any
) -> None:
    backend = Asked(graph)
    text = " ".join(SENTENCES * 4)
    async with serving(listening, backend, {"voice": "anna"}, max_passage_s=4.0) as client:
        heard = await client.say(text, 1000)
    together, last = backend.texts()  # the last sentence was complete only with `input.done`
    assert (len(together), len(last)) == (len(heard.texts()) - 1, 1)
    assert len(together) > 4
    assert backend.requests[0].voice == "anna"


async def test_sentences_of_a_text_being_written_are_asked_for_when_little_is_left_to_play(
    graph: Graph, listening: Any
) -> None:
    backend = Asked(graph)
    long = "This is a sentence of some length, which takes longer to be spoken than to be made. "
    async with serving(listening, backend, {}) as client:
        await client.send("input.text", text=long + "More")
        await client.hear("audio.start")
        assert await eventually(graph.idle)  # all of its sound is made, 13 s of it
        await client.send("input.text", text=f" comes. {long}And")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.event(), 0.2)
        await client.send("input.done")  # there is nothing more to wait for
        await client.hear()
    assert [len(texts) for texts in backend.texts()] == [1, 1]


async def test_the_quiet_between_two_requests_is_that_of_the_punctuation(
    listening: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(utterance, "AHEAD_S", 1000.0)  # asked for as soon as possible
    hum = bytes(4800) + tone(24_000) + bytes(2400)  # 100 ms and 50 ms of quiet
    backend = ScriptedBackend(SpeechDelta(pcm=hum, finish_reason="stop", usage=SOUND))
    async with serving(listening, backend, {}) as client:
        await client.send("input.text", text="One. Two")
        await client.hear("audio.start")
        await client.send("input.done")
        heard = await client.hear()
    added = len(heard.sound) - 2 * len(hum)
    assert added / 48_000 == pytest.approx(0.4 - 0.15, abs=0.02)


@pytest.mark.parametrize("form", ["mp3", "opus", "aac", "flac", "wav", "pcm"])
@pytest.mark.parametrize("sent_as", ["audio", "json"])
async def test_the_sound_of_a_text_is_one_file_in_every_format(
    here: Served, form: str, sent_as: str
) -> None:
    async with connected(here.url) as client:
        await client.send("session.config", response_format=form, stream_format=sent_as)
        await client.send("input.text", text=SENTENCES[0] + " And")
        first = await client.hear("audio.start")
        await client.send("input.text", text=SENTENCES[1].removeprefix("And"))
        await client.send("input.done")
        heard = await client.hear()
    texts = first.texts() + heard.texts()
    sound = first.sound + heard.sound
    tokens = len(sound_of(texts)) // 1920
    samples = len(sound) // 2 if form == "pcm" else len(decoded(sound))
    assert_streamed_length(samples, tokens, form)
    assert len(sound) == sum(e["total_bytes"] for e in heard.events if e["type"] == "audio.done")


async def test_speed_holds_for_a_text(here: Served) -> None:
    async with connected(here.url, {"speed": 2.0}) as client:
        heard = await client.say(TEXT)
    assert len(heard.sound) == len(sound_of(heard.texts())) // 2


async def test_one_connection_speaks_many_texts_each_as_it_was_configured(
    graph: Graph, listening: Any
) -> None:
    backend = Asked(graph)
    async with serving(listening, backend, {"voice": "anna"}) as client:
        await client.send("input.text", text="One.")
        await client.send("input.done")
        await client.send("session.config", response_format="pcm", voice="default")
        await client.send("input.text", text="Two.")
        await client.send("input.done")
        first, second = await client.hear(), await client.hear()
        if "session.configured" in second.kinds():
            second.events.remove(next(e for e in second.events if "session_id" in e))
    assert [request.voice for request in backend.requests] == ["anna", "default"]
    assert (first.sound, second.sound) == (sound_of(["One."]), sound_of(["Two."]))
    assert second.events[-1]["utterance_index"] == 1


async def test_a_text_without_a_letter_is_not_spoken(here: Served) -> None:
    async with connected(here.url, {}) as client:
        heard = await client.say("… 🎉 !")
        assert heard.kinds() == ["session.done"]
        assert (await client.say("Hi.")).sound == sound_of(["Hi."])


async def test_a_voice_may_come_as_a_recording(here: Served) -> None:
    recording = base64.b64encode(wav_of(0.5)).decode()
    async with connected(here.url) as client:
        voice = {"audio": {"data": recording, "format": "wav"}}
        await client.send("session.config", voice=voice)
        assert (await client.event())["error"]["param"] == "voice.audio"  # it is too short


async def test_names_of_openai_work_here_too(here: Served) -> None:
    async with connected(here.url) as client:
        await client.send("session.config", model="gpt-4o-mini-tts", voice="alloy")
        assert (await client.event())["type"] == "session.configured"


async def test_the_fields_of_a_config_may_stand_in_session(here: Served) -> None:
    async with connected(here.url) as client:
        await client.send("session.config", session={"response_format": "wav"})
        assert (await client.event())["response_format"] == "wav"
