"""The URLs that a batch may name: what is sent to each, and what of the answer is kept."""

import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

import httpx
import pybase64

from serve_app.commands.batch.sounds import Sounds

TIER = "service_tier"
LOW = "flex"  # live requests go first
JSON = "application/json"
DATA_URL = "data:"


class LineRefused(Exception):
    """A line that cannot be sent; the message says why."""


class UnreadableAnswer(Exception):
    """A server that answers 200 with something else than what was asked for."""


class Endpoint(Protocol):
    """One URL."""

    url: str

    def check(self, body: Mapping[str, Any], recordings: Path) -> None:
        """Raise LineRefused where it is known before that `body` cannot be sent."""

    def request(
        self, body: Mapping[str, Any], recordings: Path
    ) -> AbstractContextManager[dict[str, Any]]:
        """Arguments of `httpx.Client.request`, as long as the block lasts.

        Raises:
            OSError, LineRefused: a recording cannot be read.
        """

    async def answer(self, response: httpx.Response, custom_id: str, sounds: Sounds) -> Any:
        """What the line's answer has as its body; `response` is a 200, read whole.

        Raises:
            UnreadableAnswer: it is not what was asked for.
            OSError: its sound cannot be written.
        """


class Chat:
    """`/v1/chat/completions`; the sound of an answer stays in its body, as base64."""

    url = "/v1/chat/completions"

    def check(self, body: Mapping[str, Any], recordings: Path) -> None:
        _require_whole(body)

    @contextmanager
    def request(self, body: Mapping[str, Any], recordings: Path) -> Iterator[dict[str, Any]]:
        yield _json({TIER: LOW, **body})

    async def answer(self, response: httpx.Response, custom_id: str, sounds: Sounds) -> Any:
        return _read_json(response)


class Speech:
    """`/v1/audio/speech`; the sound becomes a file beside the answers."""

    url = "/v1/audio/speech"

    def check(self, body: Mapping[str, Any], recordings: Path) -> None:
        if body.get("stream_format") == "sse":
            raise LineRefused('stream_format must be "audio": the answers of a batch are whole')

    @contextmanager
    def request(self, body: Mapping[str, Any], recordings: Path) -> Iterator[dict[str, Any]]:
        yield _json({TIER: LOW, **body, "stream": False})

    async def answer(self, response: httpx.Response, custom_id: str, sounds: Sounds) -> Any:
        kind = _media_type(response)
        if not kind.startswith("audio/"):
            raise UnreadableAnswer(f"the server answered {kind or 'something untyped'}, no sound")
        return await sounds.keep(custom_id, kind, response.content)


class Recording:
    """`/v1/audio/transcriptions` and `/translations`: `file` is a path, or a data URL of base64."""

    def __init__(self, url: str) -> None:
        self.url = url

    def check(self, body: Mapping[str, Any], recordings: Path) -> None:
        _require_whole(body)
        list(_form(body))
        file = body.get("file")
        if not isinstance(file, str) or not file:
            raise LineRefused("body.file must be a path or a data URL")
        if file.startswith(DATA_URL):
            _decoded(file)
        elif not _path(file, recordings).is_file():
            raise LineRefused(f"body.file: there is no file {file!r} in {recordings}")

    @contextmanager
    def request(self, body: Mapping[str, Any], recordings: Path) -> Iterator[dict[str, Any]]:
        fields: dict[str, list[str]] = {}
        for name, value in _form({TIER: LOW, **body}):
            fields.setdefault(name, []).append(value)
        file = body["file"]
        if file.startswith(DATA_URL):
            yield {"data": fields, "files": {"file": ("recording", _decoded(file))}}
            return
        path = _path(file, recordings)
        with path.open("rb") as opened:
            yield {"data": fields, "files": {"file": _named(path, opened)}}

    async def answer(self, response: httpx.Response, custom_id: str, sounds: Sounds) -> Any:
        return _read_json(response) if _media_type(response) == JSON else response.text


ENDPOINTS: dict[str, Endpoint] = {
    endpoint.url: endpoint
    for endpoint in (
        Chat(),
        Speech(),
        Recording("/v1/audio/transcriptions"),
        Recording("/v1/audio/translations"),
    )
}


def _require_whole(body: Mapping[str, Any]) -> None:
    if body.get("stream"):
        raise LineRefused("stream must be false: the answers of a batch are whole")


def _json(body: Mapping[str, Any]) -> dict[str, Any]:
    return {"content": json.dumps(body).encode(), "headers": {"Content-Type": JSON}}


def _read_json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        kind = _media_type(response) or "something untyped"
        raise UnreadableAnswer(f"the server answered {kind}, no JSON") from None


def _media_type(response: httpx.Response) -> str:
    return response.headers.get("content-type", "").partition(";")[0].strip().lower()


def _form(body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The fields of a form, as OpenAI's clients write them, without the file."""
    for name, value in body.items():
        if name == "file" or value is None:
            continue
        if isinstance(value, list):
            yield from ((f"{name}[]", _text(name, item)) for item in value)
        elif isinstance(value, dict):
            yield from ((f"{name}[{key}]", _text(name, item)) for key, item in value.items())
        else:
            yield name, _text(name, value)


def _text(name: str, value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise LineRefused(f"body.{name} holds half a character") from None
    return text


def _decoded(data_url: str) -> bytes:
    head, comma, data = data_url.partition(",")
    if not comma or not head.endswith(";base64"):
        raise LineRefused("body.file: a data URL must be data:TYPE;base64,DATA")
    try:
        return pybase64.b64decode(data, validate=True)
    except ValueError:
        raise LineRefused("body.file: the data URL is no base64") from None


def _path(file: str, recordings: Path) -> Path:
    """A recording's path; a line cannot have files sent that lie elsewhere."""
    folder = recordings.resolve()
    try:
        path = (folder / file).resolve()
    except (OSError, ValueError, RuntimeError):
        raise LineRefused(f"body.file: {file!r} is no path") from None
    if not path.is_relative_to(folder):
        raise LineRefused(f"body.file: {file!r} is not in {recordings}; see --recordings")
    return path


def _named(path: Path, opened: IO[bytes]) -> tuple[str, IO[bytes]]:
    return path.name.encode("utf-8", "replace").decode(), opened
