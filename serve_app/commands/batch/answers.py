"""The file of a batch's answers: OpenAI's format, one line an answer, added at the end.

A run that is killed leaves whole lines, and perhaps a torn last one, which the next run cuts off.
The next run sends what has no line yet.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from deployments.errors import ConfigError
from serve_app.whole_files import LineLog, reason


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one line; `error` is there where the server gave no answer."""

    custom_id: str
    status: int | None = None  # of HTTP
    request_id: str | None = None
    body: Any = None
    error: str | None = None

    @property
    def complaint(self) -> str | None:
        """Why it is no success."""
        if self.status is not None and 200 <= self.status < 300:
            return None
        return self.error or f"{self.status}: {message_of(self.body)}"

    def line(self) -> bytes:
        """As a line of OpenAI's output file; half a character, too, can be written in ASCII."""
        response = {"status_code": self.status, "request_id": self.request_id, "body": self.body}
        error = None if self.error is None else {"code": "no_answer", "message": self.error}
        fields = {
            "id": f"batch_req_{uuid4().hex}",
            "custom_id": self.custom_id,
            "response": response if self.error is None else None,
            "error": error,
        }
        return json.dumps(fields).encode()


def message_of(body: Any) -> str:
    """What an error of OpenAI's shape says, or the beginning of anything else."""
    error = body.get("error") if isinstance(body, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    return str(message or body)[:200]


@contextmanager
def answer_log(path: Path) -> Iterator[LineLog]:
    """The file of answers, which no other run writes meanwhile.

    Raises:
        ConfigError: another run does, or it cannot be written.
    """
    try:
        log = LineLog(path, resume=True)
    except BlockingIOError:
        raise ConfigError(f"{path} is being written by another run") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {reason(error)}") from None
    with log:
        yield log


def read_answers(path: Path) -> Iterator[Answer]:
    """The answers that the file holds; one is in memory at a time.

    Raises:
        ConfigError: a line is none.
    """
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            try:
                yield _answer(json.loads(raw))
            except (ValueError, KeyError, TypeError, RecursionError):
                what = f"line {number} of {path} is no answer of a batch"
                raise ConfigError(f"{what}: name another file for the answers") from None


def _answer(fields: Any) -> Answer:
    custom_id, response, error = fields["custom_id"], fields["response"], fields["error"]
    if not isinstance(custom_id, str):
        raise TypeError("custom_id")
    if response is None:
        return Answer(custom_id, error=error["message"])
    body = response["body"] if response["status_code"] >= 300 else None  # only errors are looked at
    return Answer(custom_id, response["status_code"], response["request_id"], body)
