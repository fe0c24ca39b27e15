"""Hostile requests whose bodies any client could send, each with the statuses that it may get."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from tests.benchmarks.soak.target import Target, aloud
from tests.integration.http.helpers import wav_of

JSON = {"content-type": "application/json"}
FORM = {"content-type": "multipart/form-data; boundary=b"}
SPEECH, CHAT = "/v1/audio/speech", "/v1/chat/completions"
TRANSCRIPTIONS = "/v1/audio/transcriptions"
HALF = "ab\ud83d"  # half of a surrogate pair
DEPTH = 100_000
PARTS = 5_000
MEGABYTE = "open the window " * (1 << 16)
TOO_LARGE = 26 << 20  # bytes; the limit is 25 MiB but for recordings to write down
USER = {"role": "user", "content": "Please open the window."}
BAD, GONE = frozenset({400}), frozenset({404})
FINE = frozenset({200})
Row = tuple[str, str, str, Callable[[Target], bytes], dict[str, str], frozenset[int]]


def bodies() -> Iterator[Row]:
    """Name, method, path, body, headers, statuses."""
    for name, path, body, allowed in (*_unread(), *_misread(), *_unknown(), *_limits()):
        yield name, "POST", path, body, JSON, allowed
    for name, path, form, allowed in _forms():
        yield name, "POST", path, form, FORM, allowed
    for method, path, allowed in PROBES:
        yield f"{method} {path}", method, path, lambda target: b"", {}, allowed


PROBES = (
    ("HEAD", "/health", FINE),
    ("HEAD", "/v1/models", FINE),
    ("HEAD", SPEECH, frozenset({405})),
    ("GET", CHAT, frozenset({405})),
    ("OPTIONS", CHAT, frozenset({200, 204, 400, 405})),
    ("GET", "/v1/models/", FINE),
    ("GET", "/v1/models/%ff%00", GONE),
    ("GET", "/wp-login.php", GONE),
    ("DELETE", "/v1/models", frozenset({405})),
)


def _unread() -> Iterator[tuple[str, str, Callable[[Target], bytes], frozenset[int]]]:
    """Bodies that are no JSON that can be read."""
    nested = b'{"a":' * DEPTH + b"1" + b"}" * DEPTH
    for path in (SPEECH, CHAT):
        for name, raw in (
            ("cut JSON", b'{"model": "x'),
            ("no JSON", b"\xff\xfe"),
            ("nothing", b""),
        ):
            yield f"{name}, {path}", path, _raw(raw), BAD
        yield f"JSON {DEPTH} deep, {path}", path, _raw(nested), BAD
        yield f"an array, {path}", path, _raw(b"[]"), BAD


def _misread() -> Iterator[tuple[str, str, Callable[[Target], bytes], frozenset[int]]]:
    """JSON whose text or types are wrong."""
    yield "half a character to speak", SPEECH, _speech(input=HALF), BAD
    yield "half a character in a chat", CHAT, _chat(messages=[USER | {"content": HALF}]), BAD
    yield "base64 that is no ASCII", CHAT, _chat(messages=[_with_data("é" * 40)]), BAD
    yield "base64 that is no sound", CHAT, _chat(messages=[_with_data("AAAA" * 40)]), BAD
    yield "messages that are a number", CHAT, _chat(messages=5), BAD
    yield "a temperature that is text", CHAT, _chat(temperature="warm"), BAD
    yield "a text that is a list", SPEECH, _speech(input=["a"]), BAD
    yield "a number without end", CHAT, _chat(seed=10**4000), BAD
    yield "a megabyte to speak", SPEECH, _speech(input=MEGABYTE), BAD
    yield "a megabyte in a chat", CHAT, _chat(messages=[USER | {"content": MEGABYTE}]), BAD
    yield "a megabyte of instructions", SPEECH, _speech(instructions=MEGABYTE), BAD
    yield "blank text", SPEECH, _speech(input=" \n\u200b"), BAD
    yield "text without a letter", SPEECH, _speech(input="😀 …"), BAD


def _unknown() -> Iterator[tuple[str, str, Callable[[Target], bytes], frozenset[int]]]:
    """Names that nobody knows."""
    said = {"role": "assistant", "audio": {"id": "audio_x"}}
    yield "an unknown model", CHAT, _chat(model="gpt-0"), GONE
    yield "an unknown model to speak", SPEECH, _speech(model="gpt-0"), GONE
    yield "an unknown voice", SPEECH, _speech(voice="nobody"), BAD
    yield "an unknown voice in a chat", CHAT, _chat(**aloud("../../etc/passwd")), BAD
    yield "an unknown spoken turn", CHAT, _chat(messages=[USER, said, USER]), BAD
    yield "unknown fields", CHAT, _chat(colour="red", max_tokens=4, **{"": [None]}), FINE
    yield "stop strings without end", CHAT, _chat(stop=[MEGABYTE[:9]] * 100_000), BAD
    yield "an unknown format", SPEECH, _speech(response_format="midi"), BAD


def _limits() -> Iterator[tuple[str, str, Callable[[Target], bytes], frozenset[int]]]:
    """Limits of the caller's own, under which nothing, or next to nothing, is said."""
    for name, more in (
        ("max_tokens 1", {"max_tokens": 1}),
        ("an early stop string", {"stop": ["e", "Please"], "max_tokens": 40}),
        ("an empty stop string", {"stop": "", "max_tokens": 4}),
        ("streamed, max_tokens 1", {"max_tokens": 1, "stream": True}),
    ):
        allowed = BAD | FINE if "empty" in name else FINE
        yield name, CHAT, _chat(**more), allowed
        form = "pcm16" if more.get("stream") else "wav"
        yield f"{name}, aloud", CHAT, _chat_aloud(form, more), allowed


def _forms() -> Iterator[tuple[str, str, Callable[[Target], bytes], frozenset[int]]]:
    """Multipart bodies."""
    many = b"".join(b"--b\r\n%s\r\n\r\nx\r\n" % _part(b"p%d" % n) for n in range(PARTS))
    end = b"--b--\r\n"
    yield "many form parts", TRANSCRIPTIONS, _raw(many + end), BAD
    yield "a form without a file", TRANSCRIPTIONS, _form(), BAD
    yield "a file without a byte", TRANSCRIPTIONS, _form(b""), BAD
    yield "a form that is cut", TRANSCRIPTIONS, lambda t: _form(wav_of(0.5))(t)[:-3000], BAD
    yield "an upload that is too large", SPEECH, _form(bytes(TOO_LARGE)), frozenset({413})


def _raw(body: bytes) -> Callable[[Target], bytes]:
    return lambda target: body


def _speech(**more: Any) -> Callable[[Target], bytes]:
    return lambda t: _dumped(t.speech_body("Yes.", t.voices[0]) | more)


def _chat(**more: Any) -> Callable[[Target], bytes]:
    return lambda t: _dumped({"model": t.model, "messages": [USER], "temperature": 0} | more)


def _chat_aloud(form: str, more: dict[str, Any]) -> Callable[[Target], bytes]:
    return lambda t: _chat(**aloud(t.voices[0], form), **more)(t)


def _dumped(body: dict[str, Any]) -> bytes:
    return json.dumps(body).encode()


def _with_data(data: str) -> dict[str, Any]:
    part = {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
    return {"role": "user", "content": [part]}


def _part(name: bytes, more: bytes = b"") -> bytes:
    return b'Content-Disposition: form-data; name="%s"%s' % (name, more)


def _form(file: bytes | None = None) -> Callable[[Target], bytes]:
    def form(target: Target) -> bytes:
        body = b"--b\r\n%s\r\n\r\n%s\r\n" % (_part(b"model"), target.model.encode())
        if file is not None:
            body += b"--b\r\n%s\r\n\r\n%s\r\n" % (_part(b"file", b'; filename="a"'), file)
        return body + b"--b--\r\n"

    return form
