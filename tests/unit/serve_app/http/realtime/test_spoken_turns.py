"""Turns that the client ends, and what is written down of them."""

import base64

import pytest

from deployments.errors import EngineFailed
from serve_app.sound.telephony import Law
from tests.unit.serve_app.http.realtime.client import Client, connected
from tests.unit.serve_app.http.realtime.conftest import started
from tests.unit.serve_app.http.realtime.microphone import (
    RATE_HZ,
    as_audio,
    hears_loud_sounds,
    on_the_phone,
    silence,
    speak,
    take_turns_by_hand,
    tone,
)
from tests.unit.serve_app.http.realtime.test_typed_turns import kinds, sound_of


async def test_what_was_appended_and_committed_is_answered_when_that_is_asked_for(
    client: Client,
) -> None:
    await take_turns_by_hand(client)
    await speak(client, tone(1.5))
    await client.send("input_audio_buffer.commit")
    committed = await client.expect("input_audio_buffer.committed", previous_item_id=None)
    added = await client.expect("conversation.item.added")
    assert added["item"]["id"] == committed["item_id"]
    assert added["item"]["content"] == [{"type": "input_audio", "transcript": None}]
    await client.expect("conversation.item.done")
    done = (await client.answer())[-1]["response"]
    assert done["output"][0]["content"][0]["transcript"] == "heard 1.50 s"


async def test_too_little_sound_is_refused_with_the_events_id(client: Client) -> None:
    await take_turns_by_hand(client)
    await speak(client, tone(0.05))
    error = await client.refused("input_audio_buffer.commit")
    assert error["code"] == "input_audio_buffer_commit_empty"


async def test_what_was_cleared_is_not_in_the_turn(client: Client) -> None:
    await take_turns_by_hand(client)
    await speak(client, tone(1.0))
    await client.send("input_audio_buffer.clear")
    await client.expect("input_audio_buffer.cleared")
    await speak(client, tone(0.5))
    await client.send("input_audio_buffer.commit")
    await client.until("conversation.item.done")
    done = (await client.answer())[-1]["response"]
    assert done["output"][0]["content"][0]["transcript"] == "heard 0.50 s"


@pytest.mark.parametrize("audio", ["no base64!", "AAA"])
async def test_what_is_no_base64_is_refused(client: Client, audio: str) -> None:
    error = await client.refused("input_audio_buffer.append", audio=audio)
    assert (error["code"], error["param"]) == ("invalid_value", "audio")


@pytest.mark.parametrize(("form", "law"), [("pcmu", "pcm_mulaw"), ("pcma", "pcm_alaw")])
async def test_telephones_hear_and_speak_at_their_own_rate(
    graph: object, form: str, law: Law
) -> None:
    async with connected(graph.app) as client:  # type: ignore[attr-defined]
        await client.expect("session.created")
        sound = {"type": f"audio/{form}"}
        session = await client.update(
            audio={
                "input": {"turn_detection": None, "format": sound},
                "output": {"format": sound},
            }
        )
        assert session["audio"]["output"]["format"] == sound
        audio = on_the_phone(tone(2.0, rate_hz=8000), law)
        await client.send("input_audio_buffer.append", audio=audio)
        await client.send("input_audio_buffer.commit")
        await client.until("conversation.item.done")
        events = await client.answer()
    heard = events[-1]["response"]["output"][0]["content"][0]["transcript"]
    assert abs(float(heard.split()[1]) - 2.0) < 0.02  # the resampler holds some of it back
    assert abs(len(sound_of(events)) / 8000 - len(heard) * 4 / 25) < 0.001


async def test_odd_pieces_of_a_stream_are_joined(client: Client) -> None:
    await take_turns_by_hand(client)
    data = tone(1.0).tobytes()
    for start in range(0, len(data), 4801):
        audio = base64.b64encode(data[start : start + 4801]).decode()
        await client.send("input_audio_buffer.append", audio=audio)
    await client.send("input_audio_buffer.commit")
    await client.until("conversation.item.done")
    done = (await client.answer())[-1]["response"]
    assert done["output"][0]["content"][0]["transcript"] == "heard 1.00 s"


async def test_a_recording_comes_with_an_item_too(client: Client) -> None:
    content = [{"type": "input_audio", "audio": as_audio(tone(1.0))}]
    item = {"type": "message", "role": "user", "content": content}
    await client.send("conversation.item.create", item=item)
    await client.until("conversation.item.done")
    done = (await client.answer())[-1]["response"]
    assert done["output"][0]["content"][0]["transcript"] == "heard 1.00 s"


async def test_what_was_said_is_written_down_beside_the_answer(client: Client) -> None:
    await take_turns_by_hand(client, transcription={"model": "gpt-4o-mini-transcribe"})
    await speak(client, tone(0.5))
    await client.send("input_audio_buffer.commit")
    kind = "conversation.item.input_audio_transcription"
    events = await client.until(f"{kind}.completed")
    item_id = events[0]["item_id"]
    deltas = [event["delta"] for event in events if event["type"] == f"{kind}.delta"]
    assert "".join(deltas) == events[-1]["transcript"] == "heard 0.50 s"
    assert events[-1]["item_id"] == item_id
    assert events[-1]["usage"]["type"] == "tokens"
    await client.send("conversation.item.retrieve", item_id=item_id)
    (event,) = await client.until("conversation.item.retrieved")
    assert event["item"]["content"][0]["transcript"] == "heard 0.50 s"


async def test_a_transcript_that_fails_is_told_and_the_session_goes_on() -> None:
    graph = await started()
    graph.thinker._spoilt = True
    async with connected(graph.app) as client:
        await take_turns_by_hand(client, transcription={})
        await speak(client, tone(0.5))
        await client.send("input_audio_buffer.commit")
        events = await client.until("conversation.item.input_audio_transcription.failed")
        assert events[-1]["error"]["code"] == "engine_failed"
        await client.update()
    assert EngineFailed  # the error that became this code


async def test_a_session_of_transcription_answers_nothing(graph: object) -> None:
    hears_loud_sounds(graph)  # type: ignore[arg-type]
    async with connected(graph.app, intent="transcription") as client:  # type: ignore[attr-defined]
        session = (await client.expect("session.created"))["session"]
        assert session["type"] == "transcription"
        assert "output_modalities" not in session
        updated = {
            "type": "transcription",
            "audio": {
                "input": {
                    "format": {"type": "audio/pcm", "rate": RATE_HZ},
                    "transcription": {"model": "gpt-4o-mini-transcribe", "language": "en"},
                    "turn_detection": {"type": "server_vad", "silence_duration_ms": 350},
                }
            },
        }
        await client.send("session.update", session=updated)
        await client.expect("session.updated")
        await speak(client, silence(0.2), tone(0.5), silence(0.6))
        events = await client.until("conversation.item.input_audio_transcription.completed")
        assert "response.created" not in kinds(events)
        assert events[-1]["transcript"].startswith("heard ")
        await client.send("input_audio_buffer.clear")
        await client.until("input_audio_buffer.cleared")
        error = await client.refused("response.create")
        assert error["code"] == "invalid_value"


async def test_sound_that_nobody_commits_is_bounded() -> None:
    graph = await started(max_audio_s=2.0)
    async with connected(graph.app) as client:
        await take_turns_by_hand(client)
        await speak(client, tone(1.9))
        error = await client.refused("input_audio_buffer.append", audio=as_audio(tone(0.2)))
        assert error["code"] == "input_audio_buffer_full"
