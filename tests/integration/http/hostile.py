"""Requests that no honest client sends, drawn from a seed."""

import base64
import json
import random
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.integration.http.helpers import MODEL, wav_of

WAV = wav_of(0.1)
USER = {"role": "user", "content": "hello"}
RECORDING = {"data": base64.b64encode(WAV).decode(), "format": "wav"}
TOOL = {
    "type": "function",
    "function": {"name": "f", "description": "d", "parameters": {"type": "object"}},
}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
SPEECH: dict[str, Any] = {
    "model": MODEL,
    "input": "Yes.",
    "voice": {"id": "anna"},
    "instructions": "Whisper.",
    "response_format": "pcm",
    "speed": 1,
    "stream_format": "sse",
    "temperature": 0.5,
    "seed": 3,
}
CHAT: dict[str, Any] = {
    "model": MODEL,
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "a"}]},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c", "content": "done"},
        {"role": "user", "content": [{"type": "input_audio", "input_audio": RECORDING}]},
    ],
    "modalities": ["text", "audio"],
    "audio": {"voice": "anna", "format": "pcm16"},
    "tools": [TOOL],
    "tool_choice": "auto",
    "stream": False,
    "stream_options": {"include_usage": True},
    "temperature": 1,
    "top_p": 1,
    "repetition_penalty": 1.1,
    "max_tokens": 20,
    "stop": ["x"],
    "seed": 1,
    "n": 1,
    "logit_bias": {},
    "response_format": {"type": "text"},
}
FORM = {
    "model": MODEL,
    "prompt": "names",
    "language": "en",
    "response_format": "json",
    "temperature": "0.2",
    "chunking_strategy": "auto",
    "stream": "false",
}
HALF = "\ud83d"
TEXTS = (
    *("", " ", "\0", "a\0b", HALF, f"x{HALF}y", "\udcff", "😀", "\u202e", "\ufeff", "\x7f\x1b[31m"),
    *("true", "null", "NaN", "1e999", "audio_x", "../../etc/passwd", "%s%n", "é", "x" * 5000),
    *("<|EOT|>", "<tts_start>", "<tool_call>", "<|BOT|>human", "<audio_patch>", "****", "AAA="),
)
VALUES: tuple[Any, ...] = (
    *TEXTS,
    *(None, True, False, 0, -1, 1, 2, 0.5, -0.0, 1e308, -1e308, 10**30, -(2**63), 2**63),
    *(float("nan"), float("inf"), float("-inf"), 10**4000),
    *([], {}, [[]], [None], [{}], {"": ""}, {HALF: HALF}, {"id": None}, {"type": "text"}),
    *({"type": "input_audio", "input_audio": {"data": "é", "format": "x"}}, ["text", "audio"]),
)
BYTES = (
    *(b"", b"\0", b"\xff\xfe", b"\xed\xa0\xbd", b"caf\xe9", b"x" * 3000, "é😀".encode()),
    *(b"true", b"nan", b"inf", b"1e999", b"-1", b"json", b"text", b"srt", MODEL.encode(), WAV),
    *(WAV[:50], b"RIFF", b"OggS" + bytes(60), b"fLaC" + bytes(60), b"ID3" + b"\x7f" * 40, b"{}"),
)
HEADER_VALUES = (
    b"",
    b" ",
    b"\xe9",
    b"x" * 2000,
    b"a\tb",
    b"-1",
    b"0",
    b"?1",
    b"inf",
    b"gzip",
    b"*/*",
)
HEADER_NAMES = (
    *(b"x-request-id", b"authorization", b"accept", b"accept-encoding", b"content-encoding"),
    *(b"expect", b"range", b"origin", b"cookie", b"x-other", b"transfer-encoding"),
    *(b"x-request-timeout-seconds", b"serve_multiplexed_model_id", b"traceparent", b"if-match"),
)
KEPT = ("model", "input", "messages", "response_format", "modalities", "audio")
JSON_TYPES = (
    *(b"application/json", b"application/json; charset=utf-16", b"APPLICATION/JSON;"),
    *(b"application/problem+json", b"text/plain", b"", b"application/x-www-form-urlencoded"),
)
FORM_SUFFIXES = (b"", b"", b"", b"; charset=utf-16", b"; charset=idna", b'; charset="', b"; x=\xe9")
PATHS = (
    *("/v1/audio/speech", "/v1/audio/transcriptions", "/v1/audio/translations"),
    *("/v1/chat/completions", "/v1/models", "/v1/models/", "/v1/models/%ff%00", "/health"),
    *(
        "/docs",
        "/openapi.json",
        "/",
        "/v1",
        "/v1/%2e%2e/health",
        "/v1/audio/speech/",
        "/v1/nothing",
    ),
)
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "FOO")


@dataclass(frozen=True)
class Hostile:
    """One request; `headers` hold the content type."""

    method: str
    path: str
    body: bytes = b""
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)


def hostile_request(draw: random.Random) -> Hostile:
    """The next request of a seed."""
    kind: Callable[[random.Random], Hostile] = draw.choices((_json, _form, _any), (6, 3, 1))[0]
    request = kind(draw)
    for _ in range(draw.choice((0, 0, 0, 1, 3))):
        request.headers.append((draw.choice(HEADER_NAMES), draw.choice(HEADER_VALUES)))
    return request


def fault_of(request: Hostile, answer: httpx.Response) -> str | None:
    """What is wrong with an answer, if anything is: it blames us, or has another shape."""
    if answer.status_code >= 500:
        return f"{answer.status_code} {answer.text[:200]}"
    if len(answer.headers.get_list("x-request-id")) != 1:
        return f"request ids {answer.headers.get_list('x-request-id')}"
    if len(answer.content) > 100_000 and answer.status_code >= 400:
        return f"an error of {len(answer.content)} bytes"
    if answer.status_code >= 400 and request.method != "HEAD":
        error = answer.json()["error"]
        if error.keys() != {"message", "type", "param", "code"} or not error["message"]:
            return f"an error of another shape: {answer.text[:200]}"
    if "event: error" in answer.text:
        return f"a broken stream: {answer.text[-200:]}"
    return None


def _json(draw: random.Random) -> Hostile:
    path, valid = draw.choice((("audio/speech", SPEECH), ("chat/completions", CHAT)))
    body = deepcopy(valid)
    for key in draw.sample(sorted(body), draw.randrange(len(body))):
        if key not in KEPT:
            del body[key]
    for _ in range(draw.choice((0, 1, 1, 1, 2, 4))):
        _spoil(body, draw)
    text = json.dumps(body, ensure_ascii=draw.random() < 0.5)
    raw = text.encode("utf-8", "surrogatepass")
    kind = draw.choices(JSON_TYPES, (60, 1, 1, 1, 1, 1, 1))[0]
    return Hostile("POST", f"/v1/{path}", _damaged(raw, draw), [(b"content-type", kind)])


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each container in `value` with each of its keys."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        yield value, key
        if isinstance(inner, dict | list):
            yield from _places(inner)


def _spoil(body: Any, draw: random.Random) -> None:
    """Change one place in `body`."""
    value, key = draw.choice(list(_places(body)))
    if isinstance(value[key], str) and draw.random() < 0.8:
        value[key] = draw.choice(TEXTS)
        return
    match draw.randrange(6):
        case 0 if isinstance(value, dict):
            del value[key]
        case 1 if isinstance(value, dict):
            value[draw.choice(["", HALF, "\0", "colour", "x" * 500])] = draw.choice(VALUES)
        case 2:
            for _ in range(draw.choice((1, 50, 199, 300))):
                value[key] = [value[key]] if draw.random() < 0.5 else {"a": value[key]}
        case 3:
            value[key] = [value[key], draw.choice(VALUES)]
        case _:
            value[key] = deepcopy(draw.choice(VALUES))


def _damaged(raw: bytes, draw: random.Random) -> bytes:
    if draw.random() > 0.1 or not raw:
        return raw
    at = draw.randrange(len(raw))
    match draw.randrange(4):
        case 0:
            return raw[:at]
        case 1:
            return raw[:at] + draw.choice(BYTES) + raw[at:]
        case 2:
            return raw[:at] + bytes([draw.randrange(256)]) + raw[at + 1 :]
        case _:
            return b"\xef\xbb\xbf" * draw.randrange(3) + raw * draw.randrange(3)


def _form(draw: random.Random) -> Hostile:
    fields = [(name.encode(), value.encode()) for name, value in FORM.items()]
    fields = draw.sample(fields, draw.randrange(len(fields) + 1))
    if b"model" not in dict(fields) and draw.random() < 0.9:
        fields.append((b"model", MODEL.encode()))
    for _ in range(draw.choice((0, 0, 1, 2))):
        name = draw.choice(
            [*(name.encode() for name in FORM), b"file", b"\xff", b"", b'"', b"a\r\nb"]
        )
        fields.append((name, draw.choice(BYTES)))
    parts = [b'name="%s"\r\n\r\n%s' % each for each in fields]
    sound = WAV if draw.random() < 0.7 else draw.choice(BYTES)
    name = draw.choice((b"a.wav", b"", b"\xff.mp3", b"../../x", b'"', b"\0"))
    parts.insert(
        draw.randrange(len(parts) + 1),
        b'name="file"; filename="%s"\r\nContent-Type: %s\r\n\r\n%s'
        % (name, draw.choice((b"audio/wav", b"", b"\xff", b"text/plain; charset=x")), sound),
    )
    body = b"".join(b"--b\r\nContent-Disposition: form-data; %s\r\n" % part for part in parts)
    kind = draw.choices(
        (
            b"multipart/form-data; boundary=b",
            b"multipart/form-data",
            b"multipart/form-data; boundary=",
        ),
        (20, 1, 1),
    )[0]
    path = draw.choice(("transcriptions", "translations"))
    headers = [(b"content-type", kind + draw.choice(FORM_SUFFIXES))]
    return Hostile("POST", f"/v1/audio/{path}", _damaged(body + b"--b--\r\n", draw), headers)


def _any(draw: random.Random) -> Hostile:
    body = draw.choice(BYTES)
    query = draw.choice(("", "", "?a=%ff", "?model=%ed%a0%bd&x=%00", "?" + "q" * 2000))
    kind = draw.choice((*JSON_TYPES, b"multipart/form-data; boundary=b"))
    path = draw.choice(PATHS) + query
    return Hostile(draw.choice(METHODS), path, body, [(b"content-type", kind)])
