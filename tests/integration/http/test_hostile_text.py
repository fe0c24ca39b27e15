"""Text that is no Unicode, base64 that is no ASCII, forms that say things twice: a 400 by name."""

import json
from typing import Any

import httpx
import pytest

from tests.integration.http.helpers import MODEL, wav_of

HALF = "ab\ud83d"  # half an emoji, as a client sends that cuts a string at 16-bit units
USER = {"role": "user", "content": "hello"}
CALL = {"id": "x", "function": {"name": "f", "arguments": HALF}}
FUNCTION = {"name": "f", "description": HALF}
BOUNDARY = "b"


def with_part(data: str) -> dict[str, Any]:
    part = {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
    return {"messages": [{"role": "user", "content": [part]}]}


async def post_json(raw: httpx.AsyncClient, path: str, body: dict[str, Any]) -> httpx.Response:
    text = json.dumps({"model": MODEL, **body})  # ASCII: \\ud83d
    json_type = {"content-type": "application/json"}
    return await raw.post(f"/v1/{path}", content=text, headers=json_type)


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("chat/completions", {"messages": [USER | {"content": HALF}]}, "messages[0].content"),
        (
            "chat/completions",
            {"messages": [USER | {"content": HALF}], "stream": True},
            "messages[0].content",
        ),
        ("chat/completions", {"messages": [USER | {"name": HALF}]}, "messages[0].name"),
        ("chat/completions", {"messages": [USER], "user": HALF}, "user"),
        ("chat/completions", {"messages": [USER], "stop": ["a", HALF]}, "stop[1]"),
        ("chat/completions", {"messages": [USER], "metadata": {HALF: "x"}}, "metadata"),
        (
            "chat/completions",
            {"messages": [USER], "tools": [{"type": "function", "function": FUNCTION}]},
            "tools[0].function.description",
        ),
        (
            "chat/completions",
            {"messages": [USER, {"role": "assistant", "tool_calls": [CALL]}, USER]},
            "messages[1].tool_calls[0].function.arguments",
        ),
        ("audio/speech", {"input": "Yes.", "instructions": HALF}, "instructions"),
        ("audio/speech", {"input": HALF, "response_format": "pcm"}, "input"),
        ("audio/speech", {"input": "Yes.", "voice": {"id": HALF}}, "voice.id"),
        ("chat/completions", with_part("AAAA\ud800"), "messages[0].content[0].input_audio.data"),
    ],
)
async def test_text_that_is_no_unicode_is_a_400_that_names_the_field(
    raw: httpx.AsyncClient, path: str, body: dict[str, Any], param: str
) -> None:
    answer = await post_json(raw, path, body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert "Unicode" in answer.json()["error"]["message"]


@pytest.mark.parametrize("data", ["é", "😀", "****", "AAAA é"])
async def test_base64_that_is_none_is_a_400_that_names_the_field(
    raw: httpx.AsyncClient, data: str
) -> None:
    answer = await post_json(raw, "chat/completions", with_part(data))
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, "messages[0].content[0].input_audio.data")
    assert "not base64" in error["message"]


@pytest.mark.parametrize("name", ["temperature", "repetition_penalty", "top_p", "presence_penalty"])
@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
async def test_a_number_that_is_not_finite_is_a_400_that_names_the_field(
    raw: httpx.AsyncClient, name: str, number: str
) -> None:
    body = f'{{"model": "{MODEL}", "messages": [{json.dumps(USER)}], "{name}": {number}}}'
    json_type = {"content-type": "application/json"}
    answer = await raw.post("/v1/chat/completions", content=body, headers=json_type)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, name)


async def test_json_that_is_nested_without_end_is_a_400(raw: httpx.AsyncClient) -> None:
    json_type = {"content-type": "application/json"}
    for depth in (300, 900, 100_000):
        nested = '{"a":' * depth + "1" + "}" * depth
        tool = f'[{{"type": "function", "function": {{"name": "f", "parameters": {nested}}}}}]'
        body = f'{{"model": "{MODEL}", "messages": [{json.dumps(USER)}], "tools": {tool}}}'
        answer = await raw.post("/v1/chat/completions", content=body, headers=json_type)
        assert answer.status_code == 400, depth


async def test_more_stop_strings_than_can_be_looked_for_are_a_400(raw: httpx.AsyncClient) -> None:
    for count, status in ((16, 200), (17, 400), (40_000, 400)):
        stop = [f"never {number}" for number in range(count)]
        answer = await post_json(raw, "chat/completions", {"messages": [USER], "stop": stop})
        assert answer.status_code == status
    assert answer.json()["error"]["param"] == "stop"


async def test_control_characters_are_text(raw: httpx.AsyncClient) -> None:
    body = {"messages": [USER | {"content": "a\0b\x1f\ufffe"}]}
    answer = await post_json(raw, "chat/completions", body)
    assert answer.status_code == 200


def form(*fields: tuple[bytes, bytes], name: bytes = b"a.wav") -> bytes:
    parts = [b'name="%s"\r\n\r\n%s' % field for field in fields]
    parts.append(b'name="file"; filename="%s"\r\n\r\n%s' % (name, wav_of(0.5)))
    lines = [b"--b\r\nContent-Disposition: form-data; " + part + b"\r\n" for part in parts]
    return b"".join(lines) + b"--b--\r\n"


async def post_form(raw: httpx.AsyncClient, body: bytes, charset: str = "") -> httpx.Response:
    kind = {"content-type": f"multipart/form-data; boundary={BOUNDARY}{charset}"}
    return await raw.post("/v1/audio/transcriptions", content=body, headers=kind)


NAMED = (b"model", MODEL.encode())


@pytest.mark.parametrize("bad", [b"caf\xe9", b"\xed\xa0\xbd", b"\xff\xfe"])
async def test_a_form_field_that_is_no_utf_8_is_a_400_that_names_it(
    raw: httpx.AsyncClient, bad: bytes
) -> None:
    for name in (b"prompt", b"language", b"whatever"):
        answer = await post_form(raw, form(NAMED, (name, bad)))
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, name.decode())
    answer = await post_form(raw, form(NAMED, (bad, b"x")))
    assert "a field's name" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "charset", ["unicode_escape", "idna", "utf-16", "punycode", "base64", "no-such", '"x', "utf-8"]
)
async def test_the_charset_of_a_form_changes_nothing(raw: httpx.AsyncClient, charset: str) -> None:
    body = form(NAMED, (b"prompt", b"\\ud83d caf\xc3\xa9"), name=b"caf\xe9.wav")
    answer = await post_form(raw, body, f"; charset={charset}")
    assert answer.status_code == 200, answer.text


async def test_a_form_field_that_comes_twice_is_a_400_that_names_it(
    raw: httpx.AsyncClient,
) -> None:
    answer = await post_form(raw, form(NAMED, (b"prompt", b"a"), (b"prompt", b"b")))
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "prompt")
    answer = await post_form(raw, form(NAMED, (b"file", b"a text beside the file")))
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "file")


async def test_a_list_of_a_form_may_come_in_several_fields(raw: httpx.AsyncClient) -> None:
    twice = ((b"include[]", b"logprobs"), (b"include[]", b"x"))
    answer = await post_form(raw, form(NAMED, *twice))
    assert answer.json()["error"]["message"].startswith("include[]=['logprobs', 'x'] is not supp")
