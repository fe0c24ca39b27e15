"""Turns that the server detects, and answers that they interrupt."""

import asyncio
from typing import Any

from tests.integration.http.helpers import eventually
from tests.unit.serve_app.http.realtime.client import Client, connected
from tests.unit.serve_app.http.realtime.conftest import started
from tests.unit.serve_app.http.realtime.microphone import (
    hears_loud_sounds,
    silence,
    speak,
    tone,
)
from tests.unit.serve_app.http.realtime.test_typed_turns import kinds

LONG_TEXT = "a text that takes a while to be spoken, for it has so many words in it"
SEMANTIC = {"type": "semantic_vad", "eagerness": "high"}


async def detecting(client: Client, **how: Any) -> None:
    await client.update(audio={"input": {"turn_detection": {"type": "server_vad", **how}}})


async def test_speech_begins_ends_and_is_answered(graph: Any) -> None:
    hears_loud_sounds(graph)
    async with connected(graph.app) as client:
        await client.expect("session.created")
        await speak(client, silence(1.0), tone(1.0), silence(0.7))
        events = await client.until("response.done")
    assert kinds(events)[:6] == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
    ]
    begun, stopped, committed = events[:3]
    assert begun["item_id"] == stopped["item_id"] == committed["item_id"]
    assert abs(begun["audio_start_ms"] - 700) < 40  # 300 ms of padding
    assert abs(stopped["audio_end_ms"] - 2500) < 70
    transcript = events[-1]["response"]["output"][0]["content"][0]["transcript"]
    assert abs(float(transcript.split()[1]) - 1.8) < 0.1


async def test_turns_can_be_told_without_an_answer(graph: Any) -> None:
    hears_loud_sounds(graph)
    async with connected(graph.app) as client:
        await detecting(client, create_response=False)
        await speak(client, tone(0.5), silence(0.7))
        await client.until("conversation.item.done")
        assert (await client.answer())[-1]["response"]["status"] == "completed"


async def interrupted(client: Client, *sounds: Any) -> list[dict[str, Any]]:
    """Speak into an answer. The events from there to its end."""
    await client.say(LONG_TEXT)
    await client.send("response.create")
    await client.until("response.output_audio.delta")
    await speak(client, *sounds)
    return await client.until("response.done")


async def test_who_speaks_into_an_answer_stops_it_and_both_stages_are_free() -> None:
    graph = hears_loud_sounds(await started(seconds_per_delta=0.02))
    async with connected(graph.app) as client:
        events = await interrupted(client, tone(0.2))
        done = events[-1]["response"]
        assert done["status"] == "cancelled"
        assert done["status_details"]["reason"] == "turn_detected"
        begun = kinds(events).index("input_audio_buffer.speech_started")
        assert begun < kinds(events).index("response.done")
        assert graph.idle()


async def test_an_answer_goes_on_where_interruptions_are_off() -> None:
    graph = hears_loud_sounds(await started(seconds_per_delta=0.005))
    async with connected(graph.app) as client:
        await detecting(client, interrupt_response=False, create_response=False)
        events = await interrupted(client, tone(0.4), silence(0.7))
        assert events[-1]["response"]["status"] == "completed"


async def test_a_sound_of_assent_stops_no_answer_in_semantic_turns() -> None:
    graph = hears_loud_sounds(await started(seconds_per_delta=0.005))
    async with connected(graph.app) as client:
        await client.update(audio={"input": {"turn_detection": SEMANTIC}})
        events = await interrupted(client, tone(0.15), silence(3.0))
        assert events[-1]["response"]["status"] == "completed"
        assert "input_audio_buffer.speech_started" in kinds(events)


async def test_longer_speech_stops_it_in_semantic_turns_too() -> None:
    graph = hears_loud_sounds(await started(seconds_per_delta=0.02))
    async with connected(graph.app) as client:
        await client.update(audio={"input": {"turn_detection": SEMANTIC}})
        events = await interrupted(client, tone(0.5))
        assert events[-1]["response"]["status"] == "cancelled"


async def test_the_next_prompt_holds_what_was_heard_and_no_more() -> None:
    graph = hears_loud_sounds(await started(seconds_per_delta=0.02))
    async with connected(graph.app) as client:
        events = await interrupted(client, tone(0.2))
        (item,) = events[-1]["response"]["output"]
        assert item["content"][0]["transcript"] != LONG_TEXT
        item_id = item["id"]
        await client.send(
            "conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=400
        )
        await client.until("conversation.item.truncated")
        requests = spied(graph)
        await speak(client, silence(0.7))
        await client.until("response.done")
    (spoken,) = [part for m in requests[0].messages for part in m.parts if hasattr(part, "heard")]
    assert 0 < spoken.heard.audio_tokens <= 10
    assert LONG_TEXT.startswith(spoken.heard.text)
    assert len(spoken.heard.text) < len(LONG_TEXT) / 2


def spied(graph: Any) -> list[Any]:
    """The Thinker's requests from now on."""
    requests: list[Any] = []
    generate = graph.thinker.generate

    def noted(request: Any) -> Any:
        requests.append(request)
        return generate(request)

    graph.thinker.generate = noted
    return requests


async def test_an_answer_that_still_plays_is_cut_where_the_user_spoke() -> None:
    graph = hears_loud_sounds(await started())
    async with connected(graph.app) as client:
        await client.say(LONG_TEXT)
        item_id = (await client.answer())[-1]["response"]["output"][0]["id"]
        await asyncio.sleep(0.1)  # of it are heard, of eleven seconds
        requests = spied(graph)
        await speak(client, tone(0.3), silence(0.7))
        await client.until("response.done")
    parts = [part for message in requests[0].messages for part in message.parts]
    (spoken,) = [part for part in parts if hasattr(part, "heard")]
    assert spoken.heard is not None
    assert spoken.heard.audio_tokens < 100
    assert item_id


async def test_nobody_speaks_and_the_server_does(graph: Any) -> None:
    hears_loud_sounds(graph)
    async with connected(graph.app) as client:
        await detecting(client, idle_timeout_ms=5000)
        await speak(client, tone(0.3), silence(0.8))
        await client.until("response.done")
        await speak(client, silence(9.0), piece_s=0.5)
        events = await client.until("response.done")
    timeout = events[0]
    assert timeout["type"] == "input_audio_buffer.timeout_triggered"
    assert abs(timeout["audio_end_ms"] - timeout["audio_start_ms"] - 5000) < 40
    assert events[1]["item_id"] == timeout["item_id"]


async def test_changed_detection_holds_from_the_next_sound_on(graph: Any) -> None:
    hears_loud_sounds(graph)
    async with connected(graph.app) as client:
        await client.expect("session.created")
        await speak(client, tone(0.3), silence(0.8))
        await client.until("response.done")
        await client.update(audio={"input": {"turn_detection": None}})
        await speak(client, tone(0.3), silence(0.8))
        await client.send("input_audio_buffer.commit")
        (committed,) = await client.until("input_audio_buffer.committed")
        assert committed["previous_item_id"] is not None


async def test_a_client_that_leaves_in_an_answer_to_speech_frees_both_stages() -> None:
    graph = hears_loud_sounds(await started(seconds_per_delta=0.05))
    async with connected(graph.app) as client:
        await speak(client, tone(0.5), silence(0.7))
        await client.until("response.output_audio.delta")
    assert await eventually(graph.idle)
