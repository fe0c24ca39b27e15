"""Which functions an answer may or must call."""

import json
from collections.abc import Sequence

from deployments.errors import RequestError, UnsupportedRequest
from deployments.messages import Function
from serve_app.http.chat.tool_choice import MAX_SCHEMA_CHARS, NO_ARGUMENTS
from serve_app.http.realtime.session_types import FunctionTool, NamedFunction, ToolChoice


def offered_tools(
    tools: Sequence[FunctionTool], choice: ToolChoice | None
) -> Sequence[FunctionTool]:
    """The tools that the model is shown."""
    return () if choice == "none" else tools


def functions_to_call(
    tools: Sequence[FunctionTool], choice: ToolChoice | None, place: str
) -> tuple[Function, ...]:
    """The functions of which one has to be called; none leaves it to the model.

    Raises:
        RequestError: the one that has to be called is not among the tools.
        UnsupportedRequest: the schema of one's arguments is too long.
    """
    if choice in (None, "auto", "none"):
        return ()
    name = choice.name if isinstance(choice, NamedFunction) else None
    wanted = [tool for tool in tools if name is None or tool.name == name]
    if not wanted:
        what = f"no function {name!r}" if name else "no function"
        raise RequestError(f"tools has {what} to call", param=f"{place}.tool_choice")
    return tuple(Function(tool.name, _schema(tool, place)) for tool in wanted)


def _schema(tool: FunctionTool, place: str) -> str:
    text = json.dumps(tool.parameters or NO_ARGUMENTS, ensure_ascii=False)
    if len(text) > MAX_SCHEMA_CHARS:
        message = f"a JSON Schema of {len(text)} characters; the limit is {MAX_SCHEMA_CHARS}"
        raise UnsupportedRequest(message, param=f"{place}.tools")
    return text
