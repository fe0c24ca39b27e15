"""What a client event is refused with. The codes are OpenAI's: clients act on some of them."""

import re
from typing import Any

from pydantic import ValidationError

from deployments.errors import RequestError
from serve_app.http.body_checks import field_name
from serve_app.http.errors import INVALID, error_answer, error_body

FIELD = re.compile(r"[a-z_][a-z0-9_]*")
INVALID_VALUE = "invalid_value"
MISSING = "missing_required_parameter"


class Refused(RequestError):
    """An event that is not done. The session goes on."""

    code: str

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message, code=code, param=param)


def error_of(error: BaseException) -> dict[str, Any]:
    """`type`, `code`, `message` and `param` of an error as OpenAI's events carry them."""
    if isinstance(error, Refused):
        body = error_body(error.message, INVALID, error.param, error.code)
    else:
        body = error_answer(error).body
    details: dict[str, Any] = body["error"]
    return details


def refused(error: ValidationError, *above: str) -> Refused:
    """What is wrong with a field of an event, which stands below the fields `above`."""
    complaint = error.errors(include_url=False, include_input=False)[0]
    below = [step for step in complaint["loc"] if isinstance(step, int) or _is_field(step)]
    param = field_name([*above, *below])
    code = MISSING if complaint["type"] == "missing" else INVALID_VALUE
    text = complaint["msg"].removeprefix("Value error, ")
    return Refused(code, f"{param}: {text}" if param else text, param or None)


def _is_field(step: str) -> bool:
    """Whether it is a field, and not what pydantic calls a member of a union."""
    return FIELD.fullmatch(step) is not None and step not in ("str", "int")
