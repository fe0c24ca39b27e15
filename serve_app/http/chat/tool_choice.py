"""What a request says an answer must be: a call, one call at most, or JSON."""

import json
from collections.abc import Sequence
from typing import Any

from deployments.errors import RequestError, UnsupportedRequest
from deployments.messages import Function
from serve_app.http.chat.types import ChatBody, Tool

MAX_SCHEMA_CHARS = 32 << 10  # of JSON; the largest take 0.3 s to prepare, before the first token
NO_ARGUMENTS = {"type": "object", "properties": {}, "additionalProperties": False}
ANY_OBJECT = {"type": "object"}


def check(body: ChatBody) -> None:
    """Refuse what contradicts itself.

    Raises:
        RequestError: a tool is asked for that is not declared.
        UnsupportedRequest: a spoken answer in JSON, or one that may be JSON or a call.
    """
    declared = {tool.function.name for tool in body.tools or ()}
    wanted = _named(body)
    if body.tool_choice is not None and body.tool_choice.type not in ("auto", "none"):
        if not declared:
            raise RequestError(
                "tool_choice asks for a tool, and tools is empty", param="tool_choice"
            )
        if missing := [name for name in wanted if name not in declared]:
            raise RequestError(f"tools has no function {missing[0]!r}", param="tool_choice")
    if not body.wants_json:
        return
    if body.spoken:
        raise UnsupportedRequest("a spoken answer cannot be JSON", param="response_format")
    if offered_tools(body) and not _must_call(body):
        raise UnsupportedRequest(
            "an answer in JSON cannot call tools: set tool_choice to none", param="response_format"
        )


def offered_tools(body: ChatBody) -> list[Tool]:
    """The tools that the model is shown."""
    if body.tool_choice is None:
        return body.tools or []
    if body.tool_choice.type == "none":
        return []
    tools = body.tools or []
    if body.tool_choice.type == "allowed_tools":
        return [tool for tool in tools if tool.function.name in _named(body)]
    return tools


def functions_to_call(body: ChatBody) -> tuple[Function, ...]:
    """The functions of which one has to be called; none leaves it to the model.

    Raises:
        UnsupportedRequest: the schema of one's arguments is too long.
    """
    if not _must_call(body):
        return ()
    only = _named(body) if body.tool_choice and body.tool_choice.type == "function" else None
    tools = [tool for tool in offered_tools(body) if only is None or tool.function.name in only]
    return tuple(
        Function(tool.function.name, _schema(tool.function.parameters or NO_ARGUMENTS, "tools"))
        for tool in tools
    )


def json_schema(body: ChatBody) -> str | None:
    """The JSON Schema that the answer follows, as JSON, or None for any text.

    Raises:
        UnsupportedRequest: it is too long.
    """
    if not body.wants_json or _must_call(body):
        return None
    form = body.response_format
    wanted = form.json_schema.schema_ if form and form.json_schema else None
    return _schema(ANY_OBJECT if wanted is None else wanted, "response_format")


def _must_call(body: ChatBody) -> bool:
    choice = body.tool_choice
    if choice is None:
        return False
    mode = choice.allowed_tools.mode if choice.allowed_tools else choice.type
    return mode in ("required", "function")


def _named(body: ChatBody) -> Sequence[str]:
    """The functions that `tool_choice` names."""
    choice = body.tool_choice
    if choice is None:
        return ()
    if choice.function is not None:
        return (choice.function.name,)
    tools = choice.allowed_tools.tools if choice.allowed_tools else ()
    return tuple(tool.function.name for tool in tools)


def _schema(schema: dict[str, Any], param: str) -> str:
    text = json.dumps(schema, ensure_ascii=False)
    if len(text) > MAX_SCHEMA_CHARS:
        message = f"a JSON Schema of {len(text)} characters; the limit is {MAX_SCHEMA_CHARS}"
        raise UnsupportedRequest(message, param=param)
    return text
