"""What an interpreter hears, and what it says."""

import base64

import numpy as np
import pytest

from deployments.errors import ServerFull
from deployments.messages import AudioPart, ReferenceAudio, SpeechDelta, TextPart
from deployments.thinker import tasks
from deployments.thinker.fake import audio_tokens_of
from tests.unit.serve_app.http.realtime.client import Client, Closed, Json
from tests.unit.serve_app.http.realtime_translation.conftest import (
    PAUSE,
    RATE_HZ,
    InterpretingGraph,
    interpreting,
    opened,
    speak,
    texts,
    to_the_end,
    until_idle,
)


def sound(events: list[Json]) -> bytes:
    kind = "session.output_audio.delta"
    return b"".join(base64.b64decode(one["delta"]) for one in events if one["type"] == kind)


def said(graph: InterpretingGraph) -> list[str]:
    """What the fake Thinker understood of each phrase, in the order of its requests."""
    return [f"heard {length / 16_000:.2f} s" for length in lengths(graph)]


def lengths(graph: InterpretingGraph) -> list[int]:
    """Of the phrases, in samples."""
    phrases = [request.thinker.messages[-1].parts[0] for request in graph.noted.spoken]
    return [len(phrase.samples) for phrase in phrases if isinstance(phrase, AudioPart)]


async def test_each_phrase_is_said_in_the_order_of_the_speech(
    graph: InterpretingGraph, client: Client, sentence: np.ndarray
) -> None:
    await speak(client, sentence, PAUSE, sentence[: len(sentence) // 2], PAUSE)
    events = await to_the_end(client)
    assert len(said(graph)) == 2
    assert texts(events) == " ".join(said(graph))
    spoken = b"".join(
        np.repeat(audio_tokens_of(text), 960).astype("<i2").tobytes() for text in said(graph)
    )
    assert sound(events) == spoken
    clock = [event["elapsed_ms"] for event in events if "elapsed_ms" in event]
    assert clock == sorted(clock)
    assert all(at_ms % 200 == 0 for at_ms in clock)
    with pytest.raises(Closed) as closed:
        await client.receive()
    assert closed.value.code == 1000


async def test_a_phrase_is_said_while_the_speaker_goes_on(
    graph: InterpretingGraph, client: Client, sentence: np.ndarray
) -> None:
    await speak(client, sentence, PAUSE)
    await client.until("session.output_audio.delta")  # the session is open, and nothing else comes
    assert len(graph.noted.spoken) == 1


async def test_a_long_speech_without_a_pause_is_cut(
    graph: InterpretingGraph, client: Client, sentence: np.ndarray
) -> None:
    quick = np.concatenate([sentence[4000:-8000]] * 8)[: 20 * RATE_HZ]
    await speak(client, quick)
    await to_the_end(client)
    assert len(lengths(graph)) >= 2
    assert max(lengths(graph)) <= 12 * 16_000


@pytest.mark.parametrize("language", ["zh", "en"])
async def test_the_model_is_asked_in_the_words_it_was_trained_on(
    graph: InterpretingGraph, client: Client, sentence: np.ndarray, language: str
) -> None:
    await client.send("session.update", session={"audio": {"output": {"language": language}}})
    await client.expect("session.updated")
    await speak(client, sentence)
    await to_the_end(client)
    system = graph.noted.spoken[0].thinker.messages[0]
    assert system.parts == (TextPart(tasks.TRANSLATE_ALOUD[language]),)


async def test_what_the_speaker_says_is_written_down_where_it_is_asked_for(
    graph: InterpretingGraph, client: Client, sentence: np.ndarray
) -> None:
    asked = {"audio": {"input": {"transcription": {"model": "whisper-1"}}}}
    await client.send("session.update", session=asked)
    await client.expect("session.updated")
    await speak(client, sentence, PAUSE, sentence)
    events = await to_the_end(client)
    assert texts(events, "input") == texts(events) == " ".join(said(graph))


async def test_without_that_nobody_writes_it_down(client: Client, sentence: np.ndarray) -> None:
    await speak(client, sentence)
    assert not texts(await to_the_end(client), "input")


async def test_it_speaks_in_the_speakers_own_voice_once_it_has_heard_enough(
    graph: InterpretingGraph, client: Client, sentence: np.ndarray
) -> None:
    short = sentence[: 3 * RATE_HZ // 2]
    await speak(client, short, PAUSE, sentence, PAUSE, sentence)
    await to_the_end(client)
    first, second, third = (request.voice for request in graph.noted.spoken)
    assert first is None  # the default one
    assert isinstance(second, ReferenceAudio)
    assert third == second  # it is prepared once


async def test_it_speaks_in_the_voice_that_the_client_chooses(
    graph: InterpretingGraph, client: Client, sentence: np.ndarray
) -> None:
    await client.send("session.update", session={"audio": {"output": {"voice": "anna"}}})
    session = (await client.expect("session.updated"))["session"]
    assert session["audio"]["output"] == {"language": "en", "voice": "anna"}
    await speak(client, sentence)
    await to_the_end(client)
    assert graph.noted.spoken[0].voice == "anna"


async def test_a_phrase_that_fails_is_told_and_the_next_one_is_said(
    graph: InterpretingGraph, client: Client, sentence: np.ndarray
) -> None:
    graph.noted.fails = {1: ServerFull()}
    await speak(client, sentence, PAUSE, sentence)
    events = await to_the_end(client)
    errors = [event["error"] for event in events if event["type"] == "error"]
    assert [error["code"] for error in errors] == ["server_full"]
    assert texts(events) == said(graph)[1]


async def test_a_phrase_that_the_model_says_nothing_for_is_told(
    graph: InterpretingGraph, client: Client, sentence: np.ndarray
) -> None:
    graph.noted.answers = (SpeechDelta(text="silent"), SpeechDelta(finish_reason="stop"))
    await speak(client, sentence)
    events = await to_the_end(client)
    errors = [event["error"]["code"] for event in events if event["type"] == "error"]
    assert errors == ["no_audio"]


async def test_no_event_is_too_large_for_a_client(
    graph: InterpretingGraph, client: Client, sentence: np.ndarray
) -> None:
    pcm = bytes(400_000)
    graph.noted.answers = (SpeechDelta(pcm=pcm), SpeechDelta(finish_reason="stop"))
    await speak(client, sentence)
    assert sound(await to_the_end(client)) == pcm  # the client refuses larger ones


async def test_silence_is_no_phrase(graph: InterpretingGraph, client: Client) -> None:
    await speak(client, PAUSE, PAUSE, PAUSE)
    assert [event["type"] for event in await to_the_end(client)] == ["session.closed"]
    assert not graph.noted.spoken


async def test_a_session_that_is_being_closed_takes_no_more_sound(sentence: np.ndarray) -> None:
    graph = await interpreting(seconds_per_delta=0.05)
    async with opened(graph) as client:
        await client.expect("session.created")
        await speak(client, sentence)
        await client.send("session.close")
        error = await client.refused("session.input_audio_buffer.append", audio="")
        assert error["code"] == "session_closing"


async def test_a_client_that_leaves_frees_both_stages(sentence: np.ndarray) -> None:
    graph = await interpreting(seconds_per_delta=0.05)
    async with opened(graph) as client:
        await client.expect("session.created")
        await speak(client, sentence, PAUSE)
        await client.until("session.output_transcript.delta")
        assert not graph.idle()
    await until_idle(graph)


@pytest.mark.parametrize("audio", ["no base64!", "AAA"])
async def test_what_is_no_base64_is_refused(client: Client, audio: str) -> None:
    error = await client.refused("session.input_audio_buffer.append", audio=audio)
    assert (error["code"], error["param"]) == ("invalid_value", "audio")
