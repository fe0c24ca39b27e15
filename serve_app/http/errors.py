"""The one table from exceptions to HTTP statuses, and the one shape of an error's body."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments import ray_failures
from deployments.errors import (
    AnswerCut,
    AnswerSilent,
    AudioTooLong,
    AudioUnreadable,
    EngineFailed,
    LimitReached,
    NotReady,
    PromptTooLong,
    ReferenceAudioUnfit,
    RequestError,
    SpeechTooLong,
    SpokenTurnExpired,
    SpokenTurnGone,
    SpokenTurnInvalid,
    StepAudioError,
    UnknownVoice,
    UnsupportedRequest,
    VoiceExists,
    VoiceSampleUnfit,
    VoiceStoreFailed,
    VoiceStoreFull,
)
from deployments.ray_failures import unwrap
from serve_app.http.body_checks import field_name
from serve_app.http.types import UNNAMED

logger = logging.getLogger(__name__)

INVALID = "invalid_request_error"
MESSAGE_CHARS, PARAM_CHARS = 1000, 200
METHOD_NOT_ALLOWED = 405
CLIENT_GONE = 499  # no client reads it; the access log shows it


@dataclass(frozen=True, slots=True)
class Row:
    """What a caller sees of an exception; `message` stands in for one that is not ours to show."""

    status: int
    type: str
    code: str | None
    message: str | None = None


FULL = Row(429, "rate_limit_error", "server_full", "the server is full; try again later")
NO_REPLICA = Row(
    503, "server_error", "unavailable", "the model is not available now; try again later"
)
NO_STORE = Row(
    503,
    "server_error",
    "voice_store_failed",
    "the voice store cannot be used now; the server's log says why",
)
INTERNAL = Row(500, "server_error", "internal_error", "the server failed to answer")

# The first class that fits counts: a subclass stands before its base.
TABLE: tuple[tuple[type[Exception], Row], ...] = (
    (SpokenTurnGone, Row(404, INVALID, "audio_not_found")),
    (SpokenTurnExpired, Row(400, INVALID, "audio_expired")),
    (SpokenTurnInvalid, Row(400, INVALID, "audio_id_invalid")),
    (UnknownVoice, Row(400, INVALID, "voice_not_found")),
    (AudioUnreadable, Row(400, INVALID, "audio_unreadable")),
    (AudioTooLong, Row(400, INVALID, "audio_too_long")),
    (ReferenceAudioUnfit, Row(400, INVALID, "voice_audio_unfit")),
    (VoiceSampleUnfit, Row(400, INVALID, "voice_audio_unfit")),
    (VoiceExists, Row(400, INVALID, "voice_exists")),  # OpenAI's clients would retry a 409
    (VoiceStoreFull, Row(400, INVALID, "voice_limit")),
    (PromptTooLong, Row(400, INVALID, "context_length_exceeded")),
    (SpeechTooLong, Row(400, INVALID, "context_length_exceeded")),
    (AnswerCut, Row(422, INVALID, "answer_incomplete")),
    (AnswerSilent, Row(422, INVALID, "no_audio")),
    (UnsupportedRequest, Row(400, INVALID, "unsupported")),
    (RequestError, Row(400, INVALID, "invalid_value")),
    *((kind, FULL) for kind in ray_failures.FULL),
    (LimitReached, Row(429, "rate_limit_error", "rate_limit_exceeded")),
    (NotReady, Row(503, "server_error", "not_ready")),
    (VoiceStoreFailed, NO_STORE),
    (EngineFailed, Row(503, "server_error", "engine_failed")),
    *((kind, NO_REPLICA) for kind in ray_failures.NO_REPLICA),
)

# What HTTP itself refuses: status → (type, code).
HTTP_ROWS: Mapping[int, tuple[str, str]] = {
    401: ("authentication_error", "invalid_api_key"),
    404: (INVALID, "not_found"),
    405: (INVALID, "method_not_allowed"),
    408: (INVALID, "request_timeout"),
    413: (INVALID, "request_too_large"),
    415: (INVALID, "unsupported_media_type"),
}


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """An exception as a caller sees it."""

    status: int
    body: dict[str, Any]  # {"error": {message, type, param, code}}
    headers: dict[str, str]


def error_answer(error: BaseException, retry_after_s: float = 1.0) -> ErrorAnswer:
    """The answer to a caller for `error`, without what it says of our internals."""
    error = unwrap(error)
    if isinstance(error, RequestValidationError):
        message, param = _first_complaint(error)
        return ErrorAnswer(400, error_body(message, INVALID, param, "invalid_value"), {})
    if isinstance(error, HTTPException):
        kind, code = HTTP_ROWS.get(error.status_code, (INVALID, None))
        detail = error.detail if isinstance(error.detail, dict) else {"message": error.detail}
        body = error_body(detail["message"], kind, detail.get("param"), detail.get("code", code))
        return ErrorAnswer(error.status_code, body, dict(error.headers or {}))

    row = next((row for kind_, row in TABLE if isinstance(error, kind_)), INTERNAL)
    message = row.message or str(error)
    param = error.param if isinstance(error, StepAudioError) else None
    headers = {}
    if row.status in (429, 503):
        wait_s = getattr(error, "retry_after_s", None)  # ServerFull's and BackPressureError's
        headers["Retry-After"] = str(math.ceil(retry_after_s if wait_s is None else wait_s))
    return ErrorAnswer(row.status, error_body(message, row.type, param, row.code), headers)


def error_body(message: str, kind: str, param: str | None, code: str | None) -> dict[str, Any]:
    """OpenAI's shape of an error; what it repeats of a request is cut."""
    message, param = _cut(message, MESSAGE_CHARS), param and _cut(param, PARAM_CHARS)
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}…"


def _first_complaint(error: RequestValidationError) -> tuple[str, str | None]:
    complaint = error.errors()[0]
    param = field_name([step for step in complaint["loc"] if _is_field(step)])
    text = complaint["msg"].removeprefix("Value error, ")
    if text.startswith("Expected UploadFile"):  # FastAPI's
        text = "it must be a file, whose part of the form has a filename"
    return (f"{param}: {text}" if param else text), param or None


def _is_field(step: str | int) -> bool:
    return step not in ("body", "query", "path") and not str(step).startswith(UNNAMED)


def log_if_ours(error: BaseException) -> None:
    """Log an error that a caller could not cause, with a traceback where it was not foreseen."""
    answer, cause = error_answer(error), unwrap(error)
    if answer.status < 500 or isinstance(cause, NotReady):  # that one is asked for by probes
        return
    if answer.status == INTERNAL.status:
        name = type(cause).__name__
        logger.error("answered %d: %s", answer.status, name, exc_info=without_message(error))
    else:
        what = f"{type(cause).__name__}: {cause}".partition("\n")[0]
        logger.error("answered %d: %s", answer.status, what)


class Unforeseen(Exception):
    """Stands in a log for an error whose message may repeat a request."""


def without_message(error: BaseException) -> BaseException:
    """The traceback of `error` and of what caused it, with the names of their classes alone."""
    shown = Unforeseen(type(error).__name__).with_traceback(error.__traceback__)
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    shown.__cause__ = None if cause is None else without_message(cause)
    return shown


class StreamBroken(RuntimeError):
    """Leaves the application after an answer has begun, so that the server breaks it off."""


class Failures:
    """Answers what no handler foresaw; nothing that repeats a request leaves the application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = False

        async def send_and_note(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            return await self._app(scope, receive, send_and_note)
        except StreamBroken:
            raise
        except Exception as error:
            if has_begun and isinstance(error, OSError):  # the server's: the client is gone
                raise
            log_if_ours(error)
            told = error_answer(error)
        if has_begun or scope["type"] != "http":
            raise StreamBroken("the application failed after the answer had begun")
        await JSONResponse(told.body, told.status, told.headers)(scope, receive, send)


def methods_of(scope: Scope) -> list[str]:
    """The methods of a path; Starlette names those of the first route that has the path."""
    routes = [each for each in scope["app"].routes if each.matches(scope)[0] is not Match.NONE]
    methods = {method for route in routes for method in getattr(route, "methods", None) or ()}
    return sorted(methods or ("GET", "HEAD"))  # of files


def install_error_handlers(app: FastAPI, retry_after_s: float) -> None:
    """Answer every exception that is foreseen in the one shape; `Failures` has the rest."""

    async def answer(request: Request, error: Exception) -> Response:
        log_if_ours(error)
        answer = error_answer(error, retry_after_s)
        if answer.status == METHOD_NOT_ALLOWED:
            answer.headers["Allow"] = ", ".join(methods_of(request.scope))
        return JSONResponse(answer.body, answer.status, answer.headers)

    async def nobody_there(request: Request, error: Exception) -> Response:
        return Response(status_code=CLIENT_GONE)

    # A handler for Exception would answer all of these, but raise them again afterwards.
    kinds = [kind for kind, _ in TABLE]
    kinds += [HTTPException, RequestValidationError, *ray_failures.WRAPPERS]
    for kind in kinds:
        app.add_exception_handler(kind, answer)
    app.add_exception_handler(ClientDisconnect, nobody_there)
