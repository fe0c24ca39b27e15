"""Typed turns: items, responses in text and aloud, their events and their order."""

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np

from deployments.thinker.fake import audio_tokens_of
from tests.integration.http.helpers import eventually
from tests.unit.serve_app.http.realtime.client import Client, connected
from tests.unit.serve_app.http.realtime.conftest import started

Json = dict[str, Any]


def kinds(events: Sequence[Json]) -> list[str]:
    """Their types, of neighbours that are alike one."""
    found: list[str] = []
    for event in events:
        if not found or found[-1] != event["type"]:
            found.append(event["type"])
    return found


def sound_of(events: Sequence[Json]) -> bytes:
    deltas = [e["delta"] for e in events if e["type"] == "response.output_audio.delta"]
    return b"".join(map(base64.b64decode, deltas))


async def test_a_spoken_answer_has_all_its_events_in_the_order_that_works(client: Client) -> None:
    await client.say("good morning")
    events = await client.answer(metadata={"client_event_id": "7"})
    assert kinds(events) == [
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_audio.delta",
        "response.output_audio_transcript.delta",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "response.output_item.done",
        "conversation.item.done",
        "response.done",
    ]
    for event in (events[0], events[-1]):
        assert event["response"]["metadata"] == {"client_event_id": "7"}
    samples = np.repeat(audio_tokens_of("good morning"), 960)
    assert sound_of(events) == samples.astype("<i2").tobytes()
    done = events[-1]["response"]
    assert done["status"] == "completed"
    (item,) = done["output"]
    assert item["content"] == [{"type": "output_audio", "transcript": "good morning"}]
    kind = "response.output_audio_transcript.delta"
    words = [(e["delta"], e["start_time"]) for e in events if e["type"] == kind]
    assert "".join(word for word, _ in words) == "good morning"
    assert words == sorted(words, key=lambda word: word[1])
    assert done["usage"]["output_tokens"] == done["usage"]["output_token_details"]["audio_tokens"]


async def test_parts_are_called_otherwise_in_items_than_in_events(client: Client) -> None:
    await client.say("hello")
    events = await client.answer()
    parts = [event["part"]["type"] for event in events if "part" in event]
    assert parts == ["audio", "audio"]
    await client.update(output_modalities=["text"])
    events = await client.answer()
    assert [event["part"]["type"] for event in events if "part" in event] == ["text", "text"]
    assert events[-1]["response"]["output"][0]["content"][0]["type"] == "output_text"


async def test_an_answer_in_text_has_no_sound(client: Client) -> None:
    await client.say("hello")
    events = await client.answer(output_modalities=["text"])
    assert "".join(e["delta"] for e in events if e["type"] == "response.output_text.delta") == (
        "hello"
    )
    assert not sound_of(events)


async def test_a_spoken_turn_is_remembered_by_its_tokens(client: Client) -> None:
    await client.say("hello")
    await client.answer()
    await client.answer()
    last = client.seen[-1]["response"]["output"][0]
    assert last["content"][0]["transcript"] == f"after {len(audio_tokens_of('hello'))} ids"


async def test_a_session_that_was_updated_answers_anew_from_the_next_turn(client: Client) -> None:
    session = await client.update(
        instructions="Be brief.", audio={"output": {"voice": "anna", "speed": 1.5}}
    )
    assert session["instructions"] == "Be brief."
    assert session["audio"]["output"] == {
        "format": {"type": "audio/pcm", "rate": 24000},
        "voice": "anna",
        "speed": 1.5,
    }
    await client.say("hello")
    events = await client.answer()
    spoken_s = len(sound_of(events)) / 48_000
    assert abs(spoken_s - len(audio_tokens_of("hello")) / 25 / 1.5) < 0.01


async def test_items_have_their_clients_ids_and_places(client: Client) -> None:
    content = [{"type": "output_text", "text": "I said so"}]
    for item_id, previous, expected in (("b", "root", None), ("a", "root", None), ("c", "b", "b")):
        await client.send(
            "conversation.item.create",
            previous_item_id=previous,
            item={"id": item_id, "type": "message", "role": "assistant", "content": content},
        )
        added = await client.expect("conversation.item.added", previous_item_id=expected)
        assert added["item"]["id"] == item_id
        await client.expect("conversation.item.done")
    await client.send("conversation.item.retrieve", item_id="b")
    retrieved = await client.expect("conversation.item.retrieved")
    assert retrieved["item"]["content"] == content
    await client.send("conversation.item.delete", item_id="b")
    await client.expect("conversation.item.deleted", item_id="b")
    error = await client.refused("conversation.item.retrieve", item_id="b")
    assert error["code"] == "item_retrieve_invalid_item_id"


async def test_an_item_that_is_there_already_is_refused_by_the_code_that_livekit_knows(
    client: Client,
) -> None:
    item_id = await client.say("hello")
    item = {"id": item_id, "type": "message", "role": "user", "content": []}
    error = await client.refused("conversation.item.create", item=item)
    assert error["code"] == "item_create_duplicate_item_id"


async def test_a_second_response_is_refused_while_one_runs_but_a_typed_item_is_not() -> None:
    graph = await started(seconds_per_delta=0.01)
    async with connected(graph.app) as client:
        await client.say("a text that takes a while to be spoken")
        await client.send("response.create")
        await client.until("response.output_audio.delta")
        error = await client.refused("response.create")
        assert error["code"] == "conversation_already_has_active_response"
        await client.say("and something else")
        await client.send("response.cancel")
        done = (await client.until("response.done"))[-1]["response"]
        assert done["status"] == "cancelled"
        assert done["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
        assert done["output"][0]["status"] == "incomplete"
        assert graph.idle()


async def test_there_is_nothing_to_cancel_without_a_response(client: Client) -> None:
    error = await client.refused("response.cancel")
    assert error["code"] == "response_cancel_not_active"
    assert error["message"].startswith("Cancellation failed: no active response found")


async def test_a_client_that_leaves_frees_both_stages() -> None:
    graph = await started(seconds_per_delta=0.01)
    async with connected(graph.app) as client:
        await client.say("a text that takes a while to be spoken")
        await client.send("response.create")
        await client.until("response.output_audio.delta")
        assert not graph.idle()
    assert await eventually(graph.idle)


async def test_an_answer_that_reaches_its_limit_is_incomplete(client: Client) -> None:
    await client.say("a long text")
    done = (await client.answer(max_output_tokens=8))[-1]["response"]
    assert (done["status"], done["max_output_tokens"]) == ("incomplete", 8)
    assert done["status_details"] == {"type": "incomplete", "reason": "max_output_tokens"}


async def test_a_response_beside_the_conversation_joins_it_not(client: Client) -> None:
    item_id = await client.say("hello")
    content = [{"type": "input_text", "text": "something else"}]
    events = await client.answer(
        conversation="none",
        input=[
            {"type": "item_reference", "id": item_id},
            {"type": "message", "role": "user", "content": content},
        ],
    )
    assert events[-1]["response"]["conversation_id"] is None
    assert "conversation.item.added" not in kinds(events)
    (item,) = events[-1]["response"]["output"]
    assert item["content"][0]["transcript"] == "something else"
    error = await client.refused("conversation.item.retrieve", item_id=item["id"])
    assert error["code"] == "item_retrieve_invalid_item_id"


async def test_a_truncation_behind_the_end_is_clamped(client: Client) -> None:
    await client.say("hello")
    item = (await client.answer())[-1]["response"]["output"][0]
    whole_ms = 40 * len(audio_tokens_of("hello"))
    for asked_ms, told_ms in ((10**6, whole_ms), (100, 100)):
        await client.send(
            "conversation.item.truncate",
            item_id=item["id"],
            content_index=0,
            audio_end_ms=asked_ms,
        )
        await client.expect("conversation.item.truncated", audio_end_ms=told_ms)


async def test_an_item_of_an_earlier_session_is_truncated_without_an_error(client: Client) -> None:
    await client.send(
        "conversation.item.truncate", item_id="item_before", content_index=0, audio_end_ms=800
    )
    await client.expect(
        "conversation.item.truncated", item_id="item_before", content_index=0, audio_end_ms=800
    )


async def test_a_failure_of_the_graph_ends_the_response_and_not_the_session() -> None:
    graph = await started()
    graph.synthesizer._max_streams = 0
    async with connected(graph.app) as client:
        await client.say("hello")
        done = (await client.answer())[-1]["response"]
        assert (done["status"], done["status_details"]["error"]["code"]) == (
            "failed",
            "server_full",
        )
        graph.synthesizer._max_streams = 1
        assert (await client.answer())[-1]["response"]["status"] == "completed"
