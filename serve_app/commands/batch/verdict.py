"""What a batch came to, in the end: what is answered, and every line that is not."""

import json
from pathlib import Path

from rich.console import Console

from serve_app.commands.batch.answers import Answer
from serve_app.commands.batch.lines import BadLine
from serve_app.commands.console import say
from serve_app.whole_files import LineLog

SHOWN = 50  # bad lines and failures each; a file has all of them


class Verdict:
    """Counts, and a file of the bad lines, which is there only if there are any."""

    def __init__(self, answers: Path) -> None:
        self._answers = answers
        self.errors = answers.with_suffix(".errors.jsonl")
        self._bad: set[int] = set()
        self._lines: list[str] = []
        self._failures: list[str] = []
        self._answered = self._failed = 0
        self.errors.unlink(missing_ok=True)

    def bad(self, line: BadLine) -> None:
        """A line that cannot be sent; it may come twice."""
        if line.number in self._bad:
            return
        self._bad.add(line.number)
        fields = {
            "line": line.number,
            "custom_id": line.custom_id,
            "error": {"code": "invalid_line", "message": line.message},
        }
        with LineLog(self.errors, resume=True) as log:
            log.add(json.dumps(fields).encode())
        if len(self._lines) < SHOWN:
            self._lines.append(f"line {line.number}: {line.message}")

    def answered(self, answer: Answer) -> None:
        """An answer of this run or of an earlier one."""
        self._answered += 1
        if (complaint := answer.complaint) is None:
            return
        self._failed += 1
        if len(self._failures) < SHOWN:
            self._failures.append(f"{answer.custom_id!r}: {complaint}")

    def say(self, console: Console) -> int:
        """Say all of it; gives the exit code: 1 if a line is bad or failed."""
        for line in (*self._lines, *self._failures):
            say(console, line)
        bad, failed = len(self._bad), self._failed
        if bad > SHOWN or failed > SHOWN:
            say(console, f"… and {max(0, bad - SHOWN) + max(0, failed - SHOWN)} more")
        say(console, f"{self._answered - failed} lines answered, {failed} failed: {self._answers}")
        if bad:
            say(console, f"{bad} bad lines were not sent: {self.errors}")
        return 1 if bad or failed else 0
