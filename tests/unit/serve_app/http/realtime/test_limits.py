"""How long a session lasts, how much it may send, and that others do not notice."""

import asyncio
import json
from typing import Any

import pytest

from serve_app.http.realtime import inflow
from serve_app.http.realtime.inflow import REFUSALS
from serve_app.http.realtime.outbox import (
    FULL_BYTES,
    HIGH_BYTES,
    MAX_EVENT_BYTES,
    ClientTooSlow,
    Outbox,
)
from serve_app.http.realtime.session_ends import GOING_AWAY, POLICY_VIOLATION, RESTART
from tests.unit.serve_app.http.realtime.client import Client, Denied, connected
from tests.unit.serve_app.http.realtime.conftest import Graph, started
from tests.unit.serve_app.http.realtime.microphone import as_audio, take_turns_by_hand, tone

EVENTS = 300.0  # that a session may send at once here


@pytest.mark.parametrize("limit", ["max_session_s", "idle_s"])
async def test_a_session_that_has_lasted_long_enough_is_told_so_and_closed(limit: str) -> None:
    graph = await started(realtime={limit: 0.05})
    async with connected(graph.app) as client:
        error = (await client.until("error"))[-1]["error"]
        assert error["code"] == "session_expired"
        assert await client.closed() == GOING_AWAY


async def test_a_replica_that_stops_ends_its_sessions_and_takes_no_new_ones() -> None:
    graph = await started(seconds_per_delta=0.01)
    async with connected(graph.app) as client:
        await client.say("so")
        await client.send("response.create")
        await client.until("response.created")
        graph.app.state.sessions.drain()
        done = (await client.until("response.done"))[-1]["response"]
        assert done["status"] == "completed"
        with pytest.raises(Denied) as denied:
            async with connected(graph.app):
                pass
        assert denied.value.status == 429
        assert await client.closed() == RESTART


async def flood(client: Client, text: str, times: float) -> int:
    """Send something again and again. The code by which the session ends."""
    for _ in range(round(2 * times)):
        await client.send_text(text)
    return await client.closed()


@pytest.mark.parametrize(
    ("text", "times"),
    [
        (json.dumps({"type": "input_audio_buffer.clear"}), EVENTS),
        (json.dumps({"type": "input_audio_buffer.append", "audio": "?"}), REFUSALS),
        ("{", REFUSALS),
        (json.dumps({"type": "x" * 1000}), REFUSALS),
    ],
)
async def test_a_flood_ends_its_own_session_and_no_other(
    graph: Graph, text: str, times: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inflow, "EVENTS", EVENTS)
    async with connected(graph.app) as other, connected(graph.app) as client:
        await other.expect("session.created")
        assert await flood(client, text, times) == POLICY_VIOLATION
        assert client.seen[-1]["error"]["code"] == "rate_limit_exceeded"
        await other.say("hello")
        assert (await other.answer())[-1]["response"]["status"] == "completed"


async def test_a_large_event_is_heard_whole(graph: Graph) -> None:
    async with connected(graph.app) as client:
        await take_turns_by_hand(client)
        large = as_audio(tone(300.0))
        assert len(large) > 14 << 20
        await client.send("input_audio_buffer.append", audio=large)
        await client.send("input_audio_buffer.commit")
        await client.until("conversation.item.done")
        done = (await client.answer(output_modalities=["text"]))[-1]["response"]
        assert done["output"][0]["content"][0]["text"] == "heard 300.00 s"


async def test_what_a_client_does_not_read_is_bounded() -> None:
    outbox = Outbox()
    delta = {"type": "response.output_audio.delta", "delta": "x" * 100_000}
    outbox.put(delta)
    await asyncio.wait_for(outbox.room(), 1)
    for _ in range(HIGH_BYTES // 100_000):
        outbox.put(delta)
    waiting = asyncio.ensure_future(outbox.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    with pytest.raises(ClientTooSlow):
        for _ in range(FULL_BYTES // 100_000):
            outbox.put(delta)
    read: list[str] = []

    async def send(text: str) -> None:
        read.append(text)

    await outbox.flush(send)
    await asyncio.wait_for(waiting, 1)
    assert all(len(text) < MAX_EVENT_BYTES for text in read)


async def test_sound_that_waits_is_dropped_and_all_else_is_sent_in_order() -> None:
    outbox = Outbox()
    sound = {"type": "response.output_audio.delta", "delta": "x" * HIGH_BYTES}
    for event in ({"type": "a"}, sound, {"type": "b"}, sound):
        outbox.put(event)
    read: list[str] = []

    async def send(text: str) -> None:
        read.append(json.loads(text)["type"])
        outbox.drop_sound()  # while the first one is under way

    await outbox.flush(send)
    assert read == ["a", "b"]
    await asyncio.wait_for(outbox.room(), 1)


async def test_events_that_cannot_be_read_to_an_end_close_nothing(graph: Graph) -> None:
    deep: Any = {"type": "session.update", "session": {}}
    for _ in range(150):
        deep = {"type": "session.update", "session": deep}
    async with connected(graph.app) as client:
        await client.send_text(json.dumps(deep))
        await client.send_text("[" * 100_000)
        error = (await client.until("error"))[-1]["error"]
        assert error["code"] == "invalid_value"
        await client.update()
