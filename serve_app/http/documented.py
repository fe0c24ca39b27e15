"""What the OpenAPI document says of answers: statuses, bodies, headers."""

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from serve_app.http.types import ErrorBody, ErrorEvent

Responses = dict[int | str, dict[str, Any]]

RETRY_AFTER = {
    "description": "In how many seconds to try again.",
    "schema": {"type": "integer", "minimum": 0},
}
CHALLENGE = {"description": "How to send a key.", "schema": {"type": "string"}}

STATUSES: Mapping[int, dict[str, Any]] = {
    400: {"description": "A field is wrong, or its value is not served. `param` names the field."},
    401: {
        "description": "The server has API keys, and the request's is none of them.",
        "headers": {"WWW-Authenticate": CHALLENGE},
    },
    404: {"description": "There is no model, voice or spoken answer of that name."},
    408: {"description": "The body comes too slowly."},
    413: {"description": "The body is too large."},
    415: {"description": "The body is of another type."},
    422: {"description": "The model found no end to its answer."},
    429: {
        "description": "The server is full, or the API key has used what it may use.",
        "headers": {"Retry-After": RETRY_AFTER},
    },
    500: {"description": "A fault of the server's."},
    503: {
        "description": "The server starts, or a part of it failed.",
        "headers": {"Retry-After": RETRY_AFTER},
    },
}
VALIDATION_ERROR = "HTTPValidationError"  # FastAPI's
OF_ALL = (401, 413, 500)  # whatever is asked of `/v1`
OF_BODIES = (400, 408, 415, 429, 503)


def error_answers(*statuses: int) -> Responses:
    """Answers of these statuses, in OpenAI's shape of an error."""
    return {status: {"model": ErrorBody, **STATUSES[status]} for status in sorted(statuses)}


def as_text(description: str) -> dict[str, Any]:
    """What stands for a body of plain text."""
    return {"schema": {"type": "string", "description": description}}


def as_events(data: Any, done_mark: bool = False) -> dict[str, Any]:
    """What stands for server-sent events whose `data` is JSON of such a type.

    `done_mark`: the last one is `[DONE]`, which is no JSON.
    """
    line: dict[str, Any] = {
        "type": "string",
        "contentMediaType": "application/json",
        "contentSchema": _schema(data | ErrorEvent),
    }
    if done_mark:
        line = {"anyOf": [line, {"const": "[DONE]"}]}
    return {"schema": {"type": "object", "properties": {"data": line}, "required": ["data"]}}


def _schema(data: Any) -> dict[str, Any]:
    """The JSON Schema of a type, without references: none of it stands among the components."""
    whole = TypeAdapter(data).json_schema(mode="serialization")
    parts = whole.pop("$defs", {})

    def resolved(node: Any) -> Any:
        if isinstance(node, list):
            return [resolved(each) for each in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return resolved(parts[node["$ref"].rpartition("/")[-1]])
        return {key: resolved(value) for key, value in node.items()}

    schema: dict[str, Any] = resolved(whole)
    return schema


def as_file(media_type: str) -> dict[str, Any]:
    """What stands for a body of bytes."""
    return {"schema": {"type": "string", "contentMediaType": media_type}}


def without_validation_errors(document: dict[str, Any]) -> dict[str, Any]:
    """An OpenAPI document without the 422 that FastAPI adds: such requests are answered 400 here.

    A 422 that a route itself describes has another schema and stays.
    """
    for operations in document["paths"].values():
        for operation in operations.values():
            if VALIDATION_ERROR in str(operation["responses"].get("422")):
                del operation["responses"]["422"]
    for name in (VALIDATION_ERROR, "ValidationError"):
        document["components"]["schemas"].pop(name, None)
    return document
