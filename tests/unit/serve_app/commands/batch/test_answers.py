"""The file of answers: resumed where a run was killed, at any byte."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from deployments.errors import ConfigError
from serve_app.commands.batch.answers import Answer, answer_log, read_answers
from serve_app.commands.batch.progress import REPORT_EVERY_S, Report
from serve_app.commands.batch.sounds import file_stem

GOOD = Answer("a \u2026 \ud800", 200, "req_1", {"text": "hello"})
FAILED = Answer("b", 400, "req_2", {"error": {"message": "no such voice"}})
UNANSWERED = Answer("c", error="the connection broke")


def test_answers_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with answer_log(path) as log:
        for answer in (GOOD, FAILED, UNANSWERED):
            log.add(answer.line())
    read = list(read_answers(path))
    assert [one.custom_id for one in read] == [GOOD.custom_id, "b", "c"]
    assert [one.complaint for one in read] == [None, "400: no such voice", "the connection broke"]


def test_a_line_torn_at_any_byte_is_cut_off_and_those_before_it_stay(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    first, second = GOOD.line() + b"\n", FAILED.line() + b"\n"
    for torn in range(len(second)):
        path.write_bytes(first + second[:torn])
        with answer_log(path) as log:
            log.add(UNANSWERED.line())
        assert [one.custom_id for one in read_answers(path)] == [GOOD.custom_id, "c"]


def test_a_torn_line_longer_than_a_block_is_cut_off_too(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    for before in (b"", GOOD.line() + b"\n"):
        path.write_bytes(before + b"x" * 200_000)
        with answer_log(path):
            pass
        assert path.read_bytes() == before


def test_two_runs_cannot_write_the_same_answers(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with answer_log(path), pytest.raises(ConfigError, match="another run"), answer_log(path):
        pass
    with answer_log(path):
        pass


@pytest.mark.parametrize("line", ["{}", "7", '{"custom_id": "a"}', "\0\0\0"])
def test_a_file_of_something_else_is_not_taken_for_answers(tmp_path: Path, line: str) -> None:
    path = tmp_path / "notes.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(ConfigError, match=r"line 1 of .* is no answer"):
        list(read_answers(path))


def test_ids_that_look_alike_have_files_of_their_own() -> None:
    ids = ["a/b", "a b", "../a", "ä", "\ud800", "x" * 400, "x" * 401]
    names = {file_stem(one) for one in ids}
    assert len(names) == len(ids)
    assert all(name.isascii() and len(name) < 60 and "/" not in name for name in names)


def test_outside_a_terminal_a_line_now_and_then_says_the_rate_and_the_time_left() -> None:
    file, now_s = io.StringIO(), 0.0
    report = Report(Console(file=file), done=1000, total=2000, now_s=lambda: now_s)
    for _ in range(400):
        now_s += REPORT_EVERY_S / 300
        report.advance()
    assert file.getvalue() == "1300 of 2000 lines, 10.0/s, 70 s left\n"
