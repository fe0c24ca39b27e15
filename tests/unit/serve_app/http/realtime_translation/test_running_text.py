"""Spaces between phrases, which clients do not put there."""

import pytest

from serve_app.http.realtime_translation.running_text import RunningText


def run(*phrases: tuple[str, ...]) -> str:
    text = RunningText()
    sent = ""
    for pieces in phrases:
        text.begin_phrase()
        sent += "".join(text.next(piece) for piece in pieces)
    return sent


@pytest.mark.parametrize(
    ("phrases", "whole"),
    [
        ([("Hel", "lo."), (" How", " are you?")], "Hello. How are you?"),
        ([("one ",), ("two",)], "one two"),
        ([("你好。",), ("你好吗？",)], "你好。你好吗？"),
        ([("你好。",), ("OK",), ("fine",)], "你好。OK fine"),
        ([("",), (" ", "late")], "late"),
        ([("first",), ("",), ("second",)], "first second"),
    ],
)
def test_phrases_run_on(phrases: list[tuple[str, ...]], whole: str) -> None:
    assert run(*phrases) == whole
