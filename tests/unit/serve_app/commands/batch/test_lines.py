"""What is a line of a batch, and what is said of one that is none."""

import json
from pathlib import Path
from typing import Any

import pytest

from serve_app.commands.batch import lines
from serve_app.commands.batch.lines import BadLine, Line, read_lines

GOOD = {
    "custom_id": "a",
    "method": "POST",
    "url": "/v1/chat/completions",
    "body": {"messages": []},
}
TRANSCRIPTION = GOOD | {"url": "/v1/audio/transcriptions"}


def read(folder: Path, *texts: str | bytes | dict[str, Any]) -> list[Line | BadLine]:
    def raw(text: str | bytes | dict[str, Any]) -> bytes:
        return text if isinstance(text, bytes) else whole(text).encode()

    def whole(text: str | dict[str, Any]) -> str:
        return text if isinstance(text, str) else json.dumps(text)

    path = folder / "in.jsonl"
    path.write_bytes(b"\n".join(map(raw, texts)))
    return list(read_lines(path, folder))


def complaint(folder: Path, text: str | bytes | dict[str, Any]) -> str:
    (line,) = read(folder, text)
    assert isinstance(line, BadLine)
    return line.message


def test_blank_lines_are_passed_over_and_counted(tmp_path: Path) -> None:
    (line,) = read(tmp_path, "", "  ", GOOD, "")
    assert isinstance(line, Line)
    assert (line.number, line.custom_id, line.endpoint.url) == (3, "a", GOOD["url"])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        ("[" * 100_000, "too deep"),
        ("[]", "no JSON object"),
        (GOOD | {"custom_id": 7}, "custom_id must be a string"),
        (GOOD | {"custom_id": ""}, "custom_id must be a string"),
        (GOOD | {"custom_id": "x" * 513}, "custom_id must be a string"),
        (GOOD | {"method": "GET"}, "method must be"),
        (GOOD | {"url": "/v1/embeddings"}, "url must be one of /v1/chat/completions, "),
        (GOOD | {"url": ["/v1/chat/completions"]}, "url must be one of"),
        (GOOD | {"body": "x"}, "body must be a JSON object"),
        (GOOD | {"body": {"stream": True}}, "stream must be false"),
        (GOOD | {"url": "/v1/audio/speech", "body": {"stream_format": "sse"}}, "stream_format"),
        (TRANSCRIPTION | {"body": {}}, "file must be a path or a data URL"),
        (TRANSCRIPTION | {"body": {"file": "gone.wav"}}, "there is no file 'gone.wav'"),
        (TRANSCRIPTION | {"body": {"file": "a\0b"}}, "is no path"),
        (TRANSCRIPTION | {"body": {"file": "data:audio/wav,x"}}, "must be data:TYPE;base64"),
        (TRANSCRIPTION | {"body": {"file": "data:audio/wav;base64,*"}}, "is no base64"),
        (TRANSCRIPTION | {"body": {"file": "in.jsonl", "prompt": "\ud800"}}, "half a character"),
    ],
)
def test_a_line_that_cannot_be_sent_says_why(
    tmp_path: Path, text: str | bytes | dict[str, Any], why: str
) -> None:
    assert why in complaint(tmp_path, text)


@pytest.mark.parametrize("path", ["../secret.wav", "/etc/passwd", "link.wav"])
def test_no_file_outside_the_recordings_can_be_sent(tmp_path: Path, path: str) -> None:
    folder = tmp_path / "batch"
    folder.mkdir()
    (tmp_path / "secret.wav").write_bytes(b"x")
    (folder / "link.wav").symlink_to(tmp_path / "secret.wav")
    assert "see --recordings" in complaint(folder, TRANSCRIPTION | {"body": {"file": path}})


def test_the_second_line_of_a_custom_id_is_bad_and_the_first_is_not(tmp_path: Path) -> None:
    first, second, third = read(tmp_path, GOOD, GOOD, GOOD | {"custom_id": "b"})
    assert isinstance(first, Line) and isinstance(third, Line)
    assert isinstance(second, BadLine) and "an earlier line" in second.message


def test_a_line_that_is_too_long_does_not_hide_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 200)
    long = GOOD | {"custom_id": "x" * 1000}
    bad, good = read(tmp_path, long, GOOD)
    assert isinstance(bad, BadLine) and "longer than" in bad.message
    assert isinstance(good, Line) and good.number == 2
