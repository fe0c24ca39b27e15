"""Tools of a chat: calls, their results, and what the model reads of them."""

import json
from typing import Any

from openai import AsyncOpenAI

from deployments.messages import (
    Message,
    Role,
    TextPart,
    ToolCall,
)
from tests.integration.http.chat.asks import ASK, END
from tests.integration.http.conftest import ScriptedBackend
from tests.integration.http.helpers import MODEL

TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}},
    }
]


async def test_tools_are_called_and_their_results_answered(openai: AsyncOpenAI) -> None:
    answer = await openai.chat.completions.create(model=MODEL, messages=ASK, tools=TOOLS)
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None and choice.message.tool_calls
    call: Any = choice.message.tool_calls[0]
    assert (call.function.name, call.function.arguments) == ("get_weather", "{}")
    result: Any = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    then = await openai.chat.completions.create(
        model=MODEL,
        tools=TOOLS,
        messages=[*ASK, choice.message, result],  # type: ignore[list-item]
    )
    assert then.choices[0].message.content == "sunny"


async def test_a_tool_call_streams_with_its_index(openai: AsyncOpenAI) -> None:
    stream = await openai.chat.completions.create(
        model=MODEL, messages=ASK, tools=TOOLS, stream=True
    )
    choices = [chunk.choices[0] async for chunk in stream]
    calls = [call for choice in choices for call in choice.delta.tool_calls or ()]
    assert [(c.index, c.function and c.function.name) for c in calls] == [(0, "get_weather")]
    assert choices[-1].finish_reason == "tool_calls"


async def test_tools_and_calls_reach_the_prompt_in_the_models_roles(scripted_raw: Any) -> None:
    backend = ScriptedBackend(END)
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "Go"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "done"},
    ]
    body = {"model": MODEL, "messages": messages, "tools": TOOLS}
    async with scripted_raw(backend) as client:
        assert (await client.post("/v1/chat/completions", json=body)).status_code == 200
        body["tool_choice"] = "none"
        assert (await client.post("/v1/chat/completions", json=body)).status_code == 200
    with_tools, without = (request.messages for request in backend.thinker_requests)
    assert with_tools == (
        Message(Role.SYSTEM, (TextPart("Be brief."),)),
        Message(Role.TOOL_SCHEMAS, (TextPart(json.dumps(TOOLS)),)),
        Message(Role.HUMAN, (TextPart("Go"),)),
        Message(Role.ASSISTANT, (ToolCall("f", '{"a": 1}'),)),
        Message(Role.TOOL_RESULT, (TextPart("done"),)),
    )
    assert without == with_tools[:1] + with_tools[2:]
