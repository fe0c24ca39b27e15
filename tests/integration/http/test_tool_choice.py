"""Calls that have to be made and answers in JSON, through OpenAI's client."""

import json
from typing import Any

import pytest
from openai import APIError, AsyncOpenAI, BadRequestError

from deployments.errors import PromptTooLong
from deployments.messages import (
    Function,
    Role,
    SpeechDelta,
    TextPart,
    ThinkerDelta,
    ToolCall,
    Usage,
)
from serve_app.http.application import create_http_app
from serve_app.http.settings import HttpSettings
from tests.integration.http.conftest import Graph, ScriptedBackend, openai_client
from tests.integration.http.helpers import MODEL

ASK: list[Any] = [{"role": "user", "content": "How are you?"}]
SPOKEN: dict[str, Any] = {
    "modalities": ["text", "audio"],
    "audio": {"voice": "anna", "format": "pcm16"},
}
ARGUMENTS = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS: list[Any] = [
    {"type": "function", "function": {"name": "get_weather", "parameters": ARGUMENTS}},
    {"type": "function", "function": {"name": "now"}},
]
NAMED: Any = {"type": "function", "function": {"name": "now"}}
ALLOWED: Any = {
    "type": "allowed_tools",
    "allowed_tools": {"mode": "required", "tools": [NAMED]},
}
WEATHER_FUNCTION = Function("get_weather", json.dumps(ARGUMENTS))
NOW_FUNCTION = Function(
    "now", json.dumps({"type": "object", "properties": {}, "additionalProperties": False})
)
END = ThinkerDelta(finish_reason="stop", usage=Usage(3, 1))
SCHEMA = {"type": "object", "properties": {"said": {"type": "string"}}}
JSON_SCHEMA: Any = {
    "type": "json_schema",
    "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True},
}


@pytest.mark.parametrize(
    ("choice", "functions", "shown"),
    [
        ("required", (WEATHER_FUNCTION, NOW_FUNCTION), TOOLS),
        (NAMED, (NOW_FUNCTION,), TOOLS),
        (ALLOWED, (NOW_FUNCTION,), TOOLS[1:]),
        ("auto", (), TOOLS),
        ("none", (), None),
    ],
    ids=["required", "named", "allowed", "auto", "none"],
)
async def test_what_has_to_be_called_and_what_is_shown_reach_the_thinker(
    scripted_raw: Any, choice: Any, functions: Any, shown: Any
) -> None:
    backend = ScriptedBackend(END)
    body = {"model": MODEL, "messages": ASK, "tools": TOOLS, "tool_choice": choice}
    async with scripted_raw(backend) as client:
        answer = await client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    (request,) = backend.thinker_requests
    assert request.must_call == functions
    told = [m.parts[0].text for m in request.messages if m.role == "tool_json_schemas"]
    assert [json.loads(text) for text in told] == ([shown] if shown else [])


@pytest.mark.parametrize("more", [{}, SPOKEN], ids=["text", "spoken"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_named_function_is_called(
    openai: AsyncOpenAI, graph: Graph, stream: bool, more: Any
) -> None:
    answer: Any = await openai.chat.completions.create(
        model=MODEL, messages=ASK, tools=TOOLS, tool_choice=NAMED, stream=stream, **more
    )
    if stream:
        choices = [chunk.choices[0] async for chunk in answer]
        messages = [choice.delta for choice in choices]
    else:
        choices = answer.choices
        messages = [choices[0].message]
    calls = [call for message in messages for call in message.tool_calls or ()]
    assert [(call.function.name, call.function.arguments) for call in calls] == [("now", "{}")]
    assert choices[-1].finish_reason == "tool_calls"
    assert not any(getattr(message, "audio", None) for message in messages)
    assert graph.idle()


async def test_with_one_call_at_most_the_thinker_is_told_so(scripted_raw: Any) -> None:
    backend = ScriptedBackend(END)
    body = {"model": MODEL, "messages": ASK, "tools": TOOLS}
    async with scripted_raw(backend) as client:
        await client.post("/v1/chat/completions", json=body)
        await client.post("/v1/chat/completions", json=body | {"parallel_tool_calls": False})
    assert [request.at_most_one_call for request in backend.thinker_requests] == [False, True]


async def test_several_calls_stream_with_an_index_each_and_go_back_with_their_results() -> None:
    first = ThinkerDelta(tool_calls=(ToolCall("now", "{}"),))
    more = (ToolCall("get_weather", '{"city": "Bern"}'), ToolCall("now", "{}"))
    last = ThinkerDelta(tool_calls=more, finish_reason="tool_calls", usage=Usage(3, 9))
    backend = ScriptedBackend(first, last)
    app = create_http_app(backend, HttpSettings(models=(MODEL,)))
    async with openai_client(app) as openai:
        async with openai.chat.completions.stream(model=MODEL, messages=ASK, tools=TOOLS) as stream:
            message: Any = (await stream.get_final_completion()).choices[0].message
        assert [call.function.name for call in message.tool_calls] == ["now", "get_weather", "now"]
        assert len({call.id for call in message.tool_calls}) == 3
        results: list[Any] = [
            {"role": "tool", "tool_call_id": call.id, "content": f"of {call.function.name}"}
            for call in message.tool_calls
        ]
        await openai.chat.completions.create(
            model=MODEL, messages=[*ASK, message, *results], tools=TOOLS
        )
    asked = backend.thinker_requests[-1].messages
    (assistant,) = [message for message in asked if message.role is Role.ASSISTANT]
    assert [part for part in assistant.parts if isinstance(part, ToolCall)] == [
        *first.tool_calls,
        *more,
    ]
    told = [message.parts for message in asked if message.role is Role.TOOL_RESULT]
    assert told == [(TextPart(f"of {name}"),) for name in ("now", "get_weather", "now")]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("form", "schema"), [(JSON_SCHEMA, SCHEMA), ({"type": "json_object"}, {"type": "object"})]
)
async def test_an_answer_in_json(
    openai: AsyncOpenAI, graph: Graph, form: Any, schema: Any, stream: bool
) -> None:
    asked = []
    generate = graph.thinker.generate
    graph.thinker.generate = lambda request: asked.append(request) or generate(request)  # type: ignore
    answer: Any = await openai.chat.completions.create(
        model=MODEL, messages=ASK, response_format=form, stream=stream
    )
    if stream:
        pieces = [chunk.choices[0].delta.content or "" async for chunk in answer]
    else:
        pieces = [answer.choices[0].message.content]
    assert json.loads("".join(pieces)) == {"said": "How are you?"}
    assert json.loads(asked[0].json_schema) == schema


DEEP = {"type": "object", "properties": {"a": {"description": "x" * 40_000}}}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"response_format": {"type": "json_object"}, **SPOKEN}, "response_format"),
        ({"response_format": {"type": "json_object"}, "tools": TOOLS}, "response_format"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": DEEP}}},
            "response_format",
        ),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": "required", "tools": []}, "tool_choice"),
        ({"tool_choice": NAMED, "tools": TOOLS[:1]}, "tool_choice"),
        ({"tool_choice": ALLOWED, "tools": TOOLS[:1]}, "tool_choice"),
        ({"tool_choice": {"type": "custom", "custom": {"name": "x"}}}, "tool_choice.type"),
        ({"tool_choice": {"type": "function"}, "tools": TOOLS}, "tool_choice"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0].type"),
    ],
)
async def test_what_cannot_be_is_refused_by_its_field(
    openai: AsyncOpenAI, fields: Any, param: str
) -> None:
    with pytest.raises(BadRequestError) as refused:
        await openai.chat.completions.create(model=MODEL, messages=ASK, **fields)
    assert refused.value.param == param


async def test_json_is_no_hindrance_where_tools_must_or_must_not_be_called(
    openai: AsyncOpenAI,
) -> None:
    for choice, reason in (("none", "stop"), ("required", "tool_calls")):
        answer = await openai.chat.completions.create(
            model=MODEL,
            messages=ASK,
            tools=TOOLS,
            tool_choice=choice,  # type: ignore[arg-type]
            response_format={"type": "json_object"},
        )
        assert answer.choices[0].finish_reason == reason


@pytest.mark.parametrize("stream", [False, True])
async def test_usage_tells_what_was_sound_what_was_cached_and_what_was_thought(
    stream: bool,
) -> None:
    usage = Usage(90, 40, 25, 64, prompt_audio_tokens=50, reasoning_tokens=7)
    end = SpeechDelta(pcm=b"\0\0", token_ids=(7,), finish_reason="stop", usage=usage)
    app = create_http_app(ScriptedBackend(end), HttpSettings(models=(MODEL,)))
    async with openai_client(app) as openai:
        more = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
        answer: Any = await openai.chat.completions.create(
            model=MODEL, messages=ASK, **SPOKEN, **more
        )
        told = [chunk async for chunk in answer][-1].usage if stream else answer.usage
    assert (told.prompt_tokens, told.completion_tokens, told.total_tokens) == (90, 40, 130)
    details = told.prompt_tokens_details
    assert (details.audio_tokens, details.cached_tokens) == (50, 64)
    details = told.completion_tokens_details
    assert (details.audio_tokens, details.reasoning_tokens) == (25, 7)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("more", [{}, SPOKEN], ids=["text", "spoken"])
async def test_a_conversation_that_overflows_the_context_says_so(stream: bool, more: Any) -> None:
    app = create_http_app(
        ScriptedBackend(PromptTooLong(tokens=20_000, limit=16_383)), HttpSettings(models=(MODEL,))
    )
    async with openai_client(app) as openai:
        with pytest.raises(APIError) as refused:
            await openai.chat.completions.create(model=MODEL, messages=ASK, stream=stream, **more)
    assert isinstance(refused.value, BadRequestError)
    assert refused.value.code == "context_length_exceeded"
