"""Where bodies are read: all text is Unicode, all numbers are finite, no form field comes twice.

A router with the `route_class` `CheckedRoute` gets no other body: anything else is a 400 that names
the field.
"""

import json
import math
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import aclosing
from typing import Any, ClassVar

from fastapi import HTTPException
from fastapi.routing import APIRoute
from pydantic_core import from_json
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope

NOT_UNICODE = "the text is not Unicode"
NOT_FINITE = "the number is not finite"
NO_FILE = "and a part without a filename is no file"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# The event loop reads a body, and every stream waits meanwhile: a million values take it seconds.
# Text of so many commas and brackets exceeds a model's context.
MAX_VALUES = 50_000
# What is no file of a form stays in memory. A field is a prompt at most.
MAX_FIELDS, MAX_FIELD_BYTES = 100, 256 << 10
MAX_FILES = 4
Step = str | int


class CheckedRoute(APIRoute):
    """A route that gives its handler a `CheckedRequest`."""

    list_fields: ClassVar[frozenset[str]] = frozenset()
    """Lists of a form: `name` is taken for `name[]`, and may come more than once."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_checked(request: Request) -> Response:
            return await handle(CheckedRequest(request.scope, request.receive, self.list_fields))

        return handle_checked


class CheckedRequest(Request):
    """A request that reads its body by the rules of this module."""

    def __init__(
        self, scope: Scope, receive: Receive, list_fields: frozenset[str] = frozenset()
    ) -> None:
        super().__init__(scope, receive)
        self._list_fields = list_fields

    async def json(self) -> Any:
        value = read_json(await self.body())
        if not isinstance(value, dict):
            raise _bad("the body must be a JSON object")
        return value

    async def _get_form(self, **limits: Any) -> FormData:
        if self._form is None:
            self._form = await read_form(self, self._list_fields)
        return self._form


def read_json(body: bytes) -> Any:
    """The value of a JSON body; objects and arrays may be nested 200 deep.

    Raises:
        HTTPException: 400, with the `param` at fault where there is one.
    """
    body = body.removeprefix(BYTE_ORDER_MARK)
    if sum(map(body.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise _bad(f"the body has more than {MAX_VALUES} values, or commas and brackets in texts")
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise _bad(*_complaint(body, str(error))) from None


def _complaint(body: bytes, parser_says: str) -> tuple[str, str | None]:
    """What is wrong with a body that cannot be read, and with which field."""
    try:
        value = json.loads(body.decode("utf-8", "surrogatepass"))
        fault = next(_faults(value), None)
    except (ValueError, RecursionError):
        fault = None
    if fault is None:
        return f"the body is not valid JSON: {parser_says}", None
    what, param = fault
    return (f"{param}: {what}" if param else what), param or None


def _faults(value: Any, place: tuple[Step, ...] = ()) -> Iterator[tuple[str, str]]:
    """What JSON forbids and Python's parser lets in, each with the field that holds it."""
    match value:
        case str() if not is_unicode(value):
            yield NOT_UNICODE, field_name(place)
        case float() if not math.isfinite(value):
            yield NOT_FINITE, field_name(place)
        case list():
            for index, item in enumerate(value):
                yield from _faults(item, (*place, index))
        case dict():
            for key, item in value.items():
                if not is_unicode(key):
                    yield f"a key of it: {NOT_UNICODE}", field_name(place)
                yield from _faults(item, (*place, key))


def media_type(content_type: str) -> str:
    """What a `Content-Type` says, without its parameters."""
    return content_type.split(";")[0].strip().lower()


def is_unicode(text: str) -> bool:
    """Whether UTF-8 can hold `text`: a lone half of a surrogate pair is no character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def field_name(place: Sequence[Step]) -> str:
    """A field's name as errors tell it: `messages[0].content`."""
    name = ""
    for step in place:
        name += f"[{step}]" if isinstance(step, int) else f".{step}" if name else step
    return name


async def read_form(request: Request, list_fields: frozenset[str] = frozenset()) -> FormData:
    """A multipart form whose text is UTF-8; a body of another type is an empty form.

    Starlette falls back to Latin-1 where text is no UTF-8. So the parser is made to read Latin-1,
    which keeps every byte, and the bytes are decoded here.

    Raises:
        HTTPException: 400, with the `param` at fault where there is one.
    """
    kind = request.headers.get("content-type", "")
    if media_type(kind) != "multipart/form-data":
        return FormData()
    headers = Headers({"content-type": f"{kind}; charset=latin-1"})
    async with aclosing(request.stream()) as stream:
        try:
            parser = MultiPartParser(
                headers,
                stream,
                max_files=MAX_FILES,
                max_fields=MAX_FIELDS,
                max_part_size=MAX_FIELD_BYTES,
            )
            form = await parser.parse()
        except MultiPartException as error:
            raise _bad(error.message) from None
    try:
        return FormData(list(_checked(form.multi_items(), list_fields)))
    except HTTPException:
        await form.close()
        raise


def _checked(
    fields: list[tuple[str, str | UploadFile]], list_fields: frozenset[str]
) -> Iterator[tuple[str, str | UploadFile]]:
    seen = set()
    for raw_name, value in fields:
        name = _utf8(raw_name, None)
        name = f"{name}[]" if name in list_fields else name
        if name in seen and not name.endswith("[]"):  # OpenAI's clients name lists so
            raise _bad(f"{name}: the field comes more than once", name)
        seen.add(name)
        yield name, _utf8(value, name) if isinstance(value, str) else value


def _utf8(latin1: str, param: str | None) -> str:
    try:
        return latin1.encode("latin-1").decode()
    except UnicodeError:
        what = f"{param}: {NOT_UNICODE}, {NO_FILE}" if param else f"a field's name: {NOT_UNICODE}"
        raise _bad(what, param) from None


def _bad(message: str, param: str | None = None) -> HTTPException:
    return HTTPException(400, {"message": message, "param": param, "code": "invalid_value"})
