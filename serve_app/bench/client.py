"""One request to an OpenAI-compatible endpoint, timed as its audio arrives.

Bodies are encoded before the clock starts, and what arrives is counted, not kept, so that one
process follows hundreds of streams.
"""

import base64
import json
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from serve_app.bench.inputs import Input, SpeechInput, TextInput
from serve_app.bench.measures import BYTES_PER_SECOND, OK, Arrival, RequestTrace
from serve_app.bench.pcm import (
    CHECKED_BYTES,
    EVENT_STREAM,
    HALF_A_SAMPLE,
    media_type,
    not_pcm,
    not_sound_by_type,
)

SPEECH_PATH = "/audio/speech"
CHAT_PATH = "/chat/completions"
NO_AUDIO = "no audio"
STREAM_ERROR = "error in the stream"
INCOMPLETE = "stream without an end"


@dataclass(frozen=True, slots=True)
class Target:
    """The server, and what every request to it says."""

    base_url: str  # with the version, such as http://127.0.0.1:8000/v1
    model: str
    voice: str | None = None
    api_key: str | None = None
    texts_by_chat: bool = False  # texts go to chat completions too
    max_tokens: int | None = None  # of chat completions: /audio/speech has no such field
    timeout_s: float = 300.0
    extra_body: Mapping[str, Any] = field(default_factory=dict)  # merged into every request


@dataclass(frozen=True, slots=True)
class PreparedRequest:
    """A request with its encoded body."""

    name: str
    path: str
    body: bytes


def prepare(target: Target, what: Input) -> PreparedRequest:
    """The request that `what` becomes."""
    if isinstance(what, TextInput) and not target.texts_by_chat:
        body = _speech_body(target, what)
        path = SPEECH_PATH
    else:
        body = _chat_body(target, what)
        path = CHAT_PATH
    whole = json.dumps(body | dict(target.extra_body)).encode()
    return PreparedRequest(what.name, path, whole)


class BenchClient:
    """Sends requests and writes down when their audio came. Use as a context manager.

    Every request in flight has an HTTP client of its own, used again by later ones: httpx's pool
    looks through all its connections at each request, which is slow with hundreds of streams.
    """

    def __init__(self, target: Target) -> None:
        self._headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if target.api_key:
            self._headers["Authorization"] = f"Bearer {target.api_key}"
        self._base_url = target.base_url.rstrip("/")
        self._timeout = httpx.Timeout(target.timeout_s)
        self._tls = httpx.create_ssl_context(trust_env=False)
        self._all: list[httpx.AsyncClient] = []
        self._free: list[httpx.AsyncClient] = []

    async def __aenter__(self) -> "BenchClient":
        return self

    async def __aexit__(self, *exc: object) -> None:
        for http in self._all:
            await http.aclose()

    @contextmanager
    def _http(self) -> Iterator[httpx.AsyncClient]:
        http = self._free.pop() if self._free else self._new_http()
        try:
            yield http
        finally:
            self._free.append(http)

    def _new_http(self) -> httpx.AsyncClient:
        http = httpx.AsyncClient(
            base_url=self._base_url,
            headers=self._headers,
            timeout=self._timeout,
            verify=self._tls,
            trust_env=False,  # a proxy in between would be measured too
        )
        self._all.append(http)
        return http

    async def send(
        self, request: PreparedRequest, headers: Mapping[str, str] | None = None
    ) -> RequestTrace:
        """Run one request to its end. What goes wrong is its `outcome`, never an exception."""
        trace = RequestTrace(request.name, sent_s=time.perf_counter())
        try:
            trace.outcome = await self._stream(request, trace, headers)
        except httpx.TimeoutException:
            trace.outcome = "timeout"
        except httpx.ConnectError:
            trace.outcome = "no connection"
        except httpx.HTTPError as error:
            trace.outcome = f"broken off ({type(error).__name__})"
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            trace.outcome = f"unreadable answer ({type(error).__name__})"
        trace.ended_s = time.perf_counter()
        return trace

    async def _stream(
        self, request: PreparedRequest, trace: RequestTrace, headers: Mapping[str, str] | None
    ) -> str:
        with self._http() as http:
            sending = http.stream("POST", request.path, content=request.body, headers=headers)
            async with sending as response:
                outcome = await _outcome(response, request.path, trace)
        return NO_AUDIO if outcome == OK and not trace.arrivals else outcome


async def _outcome(response: httpx.Response, path: str, trace: RequestTrace) -> str:
    if response.status_code != httpx.codes.OK:
        trace.refusal = _message(await response.aread())  # read, the connection can be used again
        return str(response.status_code)
    return await (_read_pcm if path == SPEECH_PATH else _read_chat)(response, trace)


def _message(body: bytes) -> str:
    """What an error of OpenAI's shape says, or the beginning of anything else."""
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, TypeError, KeyError):
        return " ".join(body[:200].decode(errors="replace").split())


async def _read_pcm(response: httpx.Response, trace: RequestTrace) -> str:
    if not_sound := not_sound_by_type(media_type(response)):
        trace.refusal = _message(await response.aread())
        return not_sound
    checked, odd = False, 0
    async for piece in response.aiter_raw():
        at_s = time.perf_counter()
        if piece and not checked:
            if not_sound := not_pcm(piece):
                trace.refusal = _message(piece)
                return not_sound
            checked = True
        if piece:
            trace.arrivals.append(Arrival(at_s, len(piece) / BYTES_PER_SECOND))
            odd ^= len(piece) & 1
    return HALF_A_SAMPLE if odd else OK


async def _read_chat(response: httpx.Response, trace: RequestTrace) -> str:
    if media_type(response) not in ("", EVENT_STREAM):
        trace.refusal = _message(await response.aread())
        return f"{media_type(response)} in place of an event stream"
    async for event in _event_data(response):
        if event == b"[DONE]":
            return OK
        answer = json.loads(event)
        if "error" in answer:
            trace.refusal = _message(event)
            return STREAM_ERROR
        for choice in answer.get("choices", ()):
            data = (choice.get("delta", {}).get("audio") or {}).get("data")
            if data:
                if not trace.arrivals and (not_sound := not_pcm(_beginning(data))):
                    return not_sound
                seconds = _decoded_bytes(data) / BYTES_PER_SECOND
                trace.arrivals.append(Arrival(time.perf_counter(), seconds))
    return INCOMPLETE


async def _event_data(response: httpx.Response) -> AsyncIterator[bytes]:
    """The `data` of each server-sent event."""
    held = b""
    async for piece in response.aiter_raw():
        *lines, held = (held + piece).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].strip()


def _beginning(base64_text: str) -> bytes:
    """The first bytes that `base64_text` stands for. Raises ValueError where it is no base64."""
    return base64.b64decode(base64_text[: 4 * (CHECKED_BYTES // 3)], validate=True)


def _decoded_bytes(base64_text: str) -> int:
    """How many bytes `base64_text` stands for; decoding it would only cost time."""
    return len(base64_text) * 3 // 4 - base64_text[-2:].count("=")


def _speech_body(target: Target, what: TextInput) -> dict[str, Any]:
    # vLLM-Omni and others stream only where `stream` says so; OpenAI's own servers ignore it
    body = {"model": target.model, "input": what.text, "response_format": "pcm", "stream": True}
    return body | ({"voice": target.voice} if target.voice else {})


def _chat_body(target: Target, what: Input) -> dict[str, Any]:
    content: list[dict[str, Any]]
    if isinstance(what, SpeechInput):
        recording = {"data": what.base64, "format": what.format}
        content = [{"type": "input_audio", "input_audio": recording}]
    else:
        content = [{"type": "text", "text": what.text}]
    audio = {"format": "pcm16"} | ({"voice": target.voice} if target.voice else {})
    body: dict[str, Any] = {
        "model": target.model,
        "modalities": ["text", "audio"],
        "audio": audio,
        "messages": [{"role": "user", "content": content}],
        "stream": True,
    }
    return body | ({"max_completion_tokens": target.max_tokens} if target.max_tokens else {})
