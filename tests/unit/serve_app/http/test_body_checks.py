"""Bodies as they are read."""

import json
from typing import Any

import pytest
from starlette.exceptions import HTTPException

from serve_app.http.body_checks import MAX_VALUES, field_name, read_json

HALF = "ab\ud83d"  # half an emoji


def refusal_of(body: bytes) -> Any:
    with pytest.raises(HTTPException) as refused:
        read_json(body)
    assert refused.value.status_code == 400
    return refused.value.detail


@pytest.mark.parametrize(
    ("value", "param"),
    [
        ({"input": HALF}, "input"),
        ({"voice": {"id": HALF}}, "voice.id"),
        (
            {"messages": [{"content": "a"}, {"content": [{"text": HALF}]}]},
            "messages[1].content[0].text",
        ),
        (
            {"tools": [{"function": {"parameters": {"enum": ["a", HALF]}}}]},
            "tools[0].function.parameters.enum[1]",
        ),
        ({"metadata": {"a": {HALF: 1}}}, "metadata.a"),
        ({"unknown": [[[HALF]]]}, "unknown[0][0][0]"),
        ({HALF: 1}, None),
        (HALF, None),
    ],
)
def test_text_that_is_no_unicode_is_refused_by_its_field(value: Any, param: str | None) -> None:
    escaped = json.dumps(value).encode()
    raw = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    for body in (escaped, raw):
        detail = refusal_of(body)
        assert detail["param"] == param
        assert "is not Unicode" in detail["message"]
        detail["message"].encode()


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_are_not_finite_are_refused_by_their_field(number: str) -> None:
    detail = refusal_of(f'{{"a": [1, {number}]}}'.encode())
    assert (detail["param"], detail["message"]) == ("a[1]", "a[1]: the number is not finite")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"a": 1} x',
        b'"\xff"',
        b"[" * 40_000,
        b'{"a":' * 300 + b"1" + b"}" * 300,
        b'{"a": ' + b"9" * 5000 + b"}",
        '{"a": 1}'.encode("utf-16"),
    ],
    ids=range(8),
)
def test_what_is_no_json_or_nested_without_end_is_refused(body: bytes) -> None:
    assert refusal_of(body)["message"].startswith("the body is not valid JSON")


def test_whole_emoji_control_characters_and_a_byte_order_mark_are_read() -> None:
    assert read_json(b'{"a": "\\ud83d\\ude00\\u0000\\t"}') == {"a": "\U0001f600\0\t"}
    assert read_json(b"\xef\xbb\xbf[1]") == [1]


def test_a_field_is_named_as_it_is_reached() -> None:
    assert field_name(("messages", 0, "content", 2, "text")) == "messages[0].content[2].text"
    assert field_name((0, "a")) == "[0].a"


def test_more_values_than_any_context_holds_are_refused_before_they_are_read() -> None:
    at_most = b"[" + b"0," * (MAX_VALUES - 1) + b"0]"
    assert len(read_json(at_most)) == MAX_VALUES
    assert "values" in refusal_of(at_most + b",")["message"]
