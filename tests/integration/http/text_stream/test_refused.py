"""What a connection refuses: configurations, frames, too much text."""

from typing import Any

import pytest

from serve_app.http.text_stream import session
from tests.integration.http.conftest import Graph
from tests.integration.http.text_stream.client import (
    Served,
    close_code,
    connected,
    serving,
    sound_of,
)


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("model", "gpt-5", "model_not_found"),
        ("voice", "nobody", "voice_not_found"),
        ("response_format", "midi", "invalid_value"),
        ("speed", "1", "invalid_value"),
        ("split_granularity", "clause", "unsupported"),
    ],
)
async def test_a_config_that_cannot_be_served_is_refused_with_its_field(
    here: Served, field: str, value: object, code: str
) -> None:
    async with connected(here.url) as client:
        await client.send("session.config", **{field: value})
        refused = await client.event()
        assert (refused["type"], refused["error"]["code"]) == ("error", code)
        assert refused["error"]["param"] == field
        assert await close_code(client) == 1008


@pytest.mark.parametrize(
    "frame",
    [
        "no json",
        "[1]",
        '"text"',
        "{}",
        '{"type": 7}',
        '{"type": "input.speech"}',
        '{"type": "input.text"}',
        '{"type": "input.text", "text": 7}',
        '{"type": "input.text", "text": "\\ud800"}',
        '{"type": "session.config", "voice": "nobody"}',
    ],
)
async def test_a_frame_that_makes_no_sense_is_refused_and_the_text_goes_on(
    here: Served, frame: str
) -> None:
    async with connected(here.url, {}) as client:
        await client.send("input.text", text="H")
        await client.socket.send(frame)
        assert (await client.event())["type"] == "error"
        assert (await client.say("i.")).sound == sound_of(["Hi."])


async def test_a_client_that_sends_nonsense_again_and_again_is_left(here: Served) -> None:
    async with connected(here.url, {}) as client:
        for _ in range(session.MOST_REFUSED):
            await client.socket.send("nonsense")
        assert await close_code(client) == 1008


async def test_text_before_the_config_is_refused(here: Served) -> None:
    async with connected(here.url) as client:
        await client.send("input.text", text="Hi.")
        assert (await client.event())["error"]["param"] == "type"
        assert await close_code(client) == 1008


async def test_a_frame_that_is_too_large_or_no_text_closes_the_connection(here: Served) -> None:
    async with connected(here.url, {}) as client:
        await client.send("input.text", text="H")
        await client.send("input.text", text="x" * session.MOST_TEXT_CHARS)
        assert await close_code(client) == 1009
    async with connected(here.url, {}) as client:
        await client.socket.send(b"{}")
        assert await close_code(client) == 1008


async def test_a_text_has_the_limit_of_a_request_and_what_it_holds_is_spoken(
    graph: Graph, listening: Any
) -> None:
    async with serving(listening, graph.backend, {}, max_input_chars=10) as client:
        await client.send("input.text", text="Just so. ")
        await client.send("input.text", text="And more.")
        assert (await client.event())["error"]["param"] == "text"
        await client.send("input.done")
        assert (await client.hear()).texts() == ["Just so."]


async def test_only_so_many_texts_may_wait(listening: Any) -> None:
    graph = Graph(seconds_per_delta=0.05)
    await graph.backend.start()
    async with serving(listening, graph.backend, {}) as client:
        for _ in range(session.MOST_WAITING + 1):
            await client.send("input.text", text="Hi.")
            await client.send("input.done")
        heard = await client.hear("error")
        assert "wait for a session.done" in heard.events[-1]["message"]
