"""The lines of a batch: OpenAI's format, read and checked one at a time."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from serve_app.commands.batch.endpoints import ENDPOINTS, Endpoint, LineRefused

MAX_LINE_BYTES = 36 << 20  # 25 MiB, OpenAI's limit for a file, as base64, and what is around it
MAX_ID_CHARS = 512


@dataclass(frozen=True, slots=True)
class Line:
    """One request."""

    number: int  # of the line in its file, from 1
    custom_id: str
    endpoint: Endpoint
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that cannot be sent, and why."""

    number: int
    custom_id: str | None
    message: str


def read_lines(path: Path, recordings: Path) -> Iterator[Line | BadLine]:
    """The lines of a file that are not blank; one is in memory at a time, and all ids.

    Args:
        path: the file.
        recordings: the folder of the recordings that lines name.

    Raises:
        OSError: the file cannot be read.
    """
    seen: set[str] = set()
    with path.open("rb") as file:
        for number, raw in enumerate(_raw_lines(file), 1):
            if raw is not None and not raw.strip():
                continue
            custom_id = None
            try:
                fields = _fields(raw)
                custom_id = _custom_id(fields, seen)
                yield Line(number, custom_id, *_request(fields, recordings))
            except LineRefused as refused:
                yield BadLine(number, custom_id, str(refused))


def _raw_lines(file: BinaryIO) -> Iterator[bytes | None]:
    """Each line; None for one that is too long."""
    while raw := file.readline(MAX_LINE_BYTES + 1):
        if len(raw) <= MAX_LINE_BYTES:
            yield raw
            continue
        while raw and not raw.endswith(b"\n"):
            raw = file.readline(MAX_LINE_BYTES)
        yield None


def _fields(raw: bytes | None) -> dict[str, Any]:
    if raw is None:
        limit = f"{MAX_LINE_BYTES >> 20} MiB"
        raise LineRefused(f"it is longer than {limit}: name a large recording by its path")
    try:
        fields = json.loads(raw)
    except RecursionError:
        raise LineRefused("its JSON is too deep") from None
    except ValueError as error:
        raise LineRefused(f"it is no JSON: {error}") from None
    if not isinstance(fields, dict):
        raise LineRefused("it is no JSON object")
    return fields


def _custom_id(fields: dict[str, Any], seen: set[str]) -> str:
    custom_id = fields.get("custom_id")
    if not isinstance(custom_id, str) or not 0 < len(custom_id) <= MAX_ID_CHARS:
        raise LineRefused(f"custom_id must be a string of 1 to {MAX_ID_CHARS} characters")
    if custom_id in seen:
        raise LineRefused(f"an earlier line has its custom_id, {custom_id!r}")
    seen.add(custom_id)
    return custom_id


def _request(fields: dict[str, Any], recordings: Path) -> tuple[Endpoint, dict[str, Any]]:
    if fields.get("method") != "POST":
        raise LineRefused('method must be "POST"')
    url = fields.get("url")
    endpoint = ENDPOINTS.get(url) if isinstance(url, str) else None
    if endpoint is None:
        raise LineRefused(f"url must be one of {', '.join(ENDPOINTS)}")
    body = fields.get("body")
    if not isinstance(body, dict):
        raise LineRefused("body must be a JSON object")
    endpoint.check(body, recordings)
    return endpoint, body
