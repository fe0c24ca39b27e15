"""Functions that the assistant calls."""

from typing import Any

from tests.unit.serve_app.http.realtime.client import Client
from tests.unit.serve_app.http.realtime.test_typed_turns import kinds

TOOL = {
    "type": "function",
    "name": "look_up",
    "description": "Looks something up.",
    "parameters": {"type": "object", "properties": {}, "additionalProperties": False},
}


def call_in(events: list[dict[str, Any]]) -> dict[str, Any]:
    (item,) = events[-1]["response"]["output"]
    assert item["type"] == "function_call"
    return item


async def test_a_call_is_an_item_with_its_arguments_and_no_sound(client: Client) -> None:
    await client.update(tools=[TOOL])
    await client.say("look it up")
    events = await client.answer()
    assert kinds(events) == [
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "conversation.item.done",
        "response.done",
    ]
    call = call_in(events)
    assert (call["name"], call["arguments"], call["status"]) == ("look_up", "{}", "completed")
    assert len(call["call_id"]) <= 32
    (done,) = [e for e in events if e["type"] == "response.function_call_arguments.done"]
    assert (done["call_id"], done["name"]) == (call["call_id"], "look_up")
    assert events[-1]["response"]["status"] == "completed"


async def test_what_a_function_gave_is_answered(client: Client) -> None:
    await client.update(tools=[TOOL])
    await client.say("look it up")
    call = call_in(await client.answer())
    item = {"type": "function_call_output", "call_id": call["call_id"], "output": "it is blue"}
    await client.send("conversation.item.create", item=item)
    added = await client.expect("conversation.item.added")
    assert added["item"]["output"] == "it is blue"
    await client.until("conversation.item.done")
    done = (await client.answer())[-1]["response"]
    assert done["output"][0]["content"][0]["transcript"] == "it is blue"


async def test_a_call_can_be_demanded_or_forbidden(client: Client) -> None:
    await client.say("hello")
    for choice in ("required", {"type": "function", "name": "look_up"}):
        call_in(await client.answer(tools=[TOOL], tool_choice=choice))
    done = (await client.answer(tools=[TOOL], tool_choice="none"))[-1]["response"]
    assert done["output"][0]["type"] == "message"


async def test_a_function_that_is_not_offered_cannot_be_demanded(client: Client) -> None:
    choice = {"type": "function", "name": "dance"}
    error = await client.refused(
        "response.create", response={"tools": [TOOL], "tool_choice": choice}
    )
    assert error["param"] == "response.tool_choice"


async def test_history_with_calls_is_taken(client: Client) -> None:
    items = (
        {"type": "function_call", "call_id": "c1", "name": "look_up", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "blue"},
    )
    for item in items:
        await client.send("conversation.item.create", item=item)
        await client.until("conversation.item.done")
    done = (await client.answer(output_modalities=["text"]))[-1]["response"]
    assert done["output"][0]["content"][0]["text"] == "blue"
