"""Conversations that outgrow the model's context."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from deployments.errors import PromptTooLong
from deployments.messages import Role
from serve_app.http.realtime import conversation
from serve_app.http.realtime.truncation import FRAME_TOKENS, message_tokens
from tests.unit.serve_app.http.realtime.client import Client, connected
from tests.unit.serve_app.http.realtime.conftest import started
from tests.unit.serve_app.http.realtime.microphone import speak, take_turns_by_hand, tone
from tests.unit.serve_app.http.realtime.test_detected_turns import spied

CONTEXT_TOKENS = 400
TURNS = 12


@asynccontextmanager
async def of_a_small_model(**settings: Any) -> AsyncIterator[tuple[Client, list[Any]]]:
    """A client, and the prompts that its model was asked."""
    graph = await started(**settings)
    prompts: list[Any] = []
    generate = graph.thinker.generate

    def bounded(request: Any) -> Any:
        tokens = sum(map(message_tokens, request.messages)) + FRAME_TOKENS
        if tokens >= CONTEXT_TOKENS:
            raise PromptTooLong(tokens, CONTEXT_TOKENS - 1)
        prompts.append(request.messages)
        return generate(request)

    graph.thinker.generate = bounded  # type: ignore[method-assign]
    async with connected(graph.app) as client:
        await client.expect("session.created")
        yield client, prompts


async def talk(client: Client) -> list[str]:
    """The statuses of many answers to turns of 2 s."""
    await take_turns_by_hand(client)
    statuses = []
    for _ in range(TURNS):
        await speak(client, tone(2.0), piece_s=1.0)
        await client.send("input_audio_buffer.commit")
        await client.until("conversation.item.done")
        done = (await client.answer(output_modalities=["text"]))[-1]["response"]
        statuses.append(done["status"])
    return statuses


async def test_the_oldest_turns_are_forgotten_once_a_prompt_was_refused() -> None:
    async with of_a_small_model() as (client, prompts):
        await client.update(instructions="Be brief.")
        assert set(await talk(client)) == {"completed"}
        assert all(prompt[0].parts[0].text == "Be brief." for prompt in prompts)
        assert len(prompts[-1]) < 2 * TURNS
        assert prompts[-1][1].role is Role.HUMAN


async def test_what_is_known_of_the_context_is_never_exceeded() -> None:
    realtime = {"context_tokens": CONTEXT_TOKENS}
    async with of_a_small_model(realtime=realtime) as (client, prompts):
        assert set(await talk(client)) == {"completed"}
        assert len(prompts) == TURNS  # none was refused
        begins = [id(prompt[1].parts[0].samples) for prompt in prompts]
        assert len(set(begins)) <= 1 + TURNS // 4  # most prompts begin as the one before


async def test_an_item_that_the_model_has_forgotten_can_be_read() -> None:
    async with of_a_small_model() as (client, _):
        await talk(client)
        first = next(e for e in client.seen if e["type"] == "conversation.item.added")
        await client.send("conversation.item.retrieve", item_id=first["item"]["id"])
        await client.expect("conversation.item.retrieved")


async def test_nothing_is_forgotten_where_that_is_forbidden() -> None:
    async with of_a_small_model() as (client, _):
        await client.update(truncation="disabled")
        assert (await talk(client))[-1] == "failed"
        error = client.seen[-1]["response"]["status_details"]["error"]
        assert error["code"] == "context_length_exceeded"


async def test_recordings_are_bounded_where_nothing_is_answered() -> None:
    graph = await started(max_audio_s=5.0)
    async with connected(graph.app) as client:
        await take_turns_by_hand(client)
        for _ in range(4):
            await speak(client, tone(2.0), piece_s=1.0)
            await client.send("input_audio_buffer.commit")
            await client.until("conversation.item.done")
        requests = spied(graph)
        await client.answer(output_modalities=["text"])
    recordings = [m for m in requests[0].messages if m.role is Role.HUMAN]
    assert len(recordings) == 2


async def test_a_conversation_has_so_much_text_at_most(monkeypatch: Any) -> None:
    monkeypatch.setattr(conversation, "MAX_BYTES", 1000)
    graph = await started()
    async with connected(graph.app) as client:
        await client.say("x" * 700)
        content = [{"type": "input_text", "text": "x" * 700}]
        item = {"type": "message", "role": "user", "content": content}
        error = await client.refused("conversation.item.create", item=item)
        assert error["param"] == "item"
