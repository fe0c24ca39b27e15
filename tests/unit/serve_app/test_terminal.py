"""No locale and no closed pipe ends a run."""

import io
import os
import pty
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from rich.console import Console

from serve_app.commands.console import say

# What a command writes: lines with what no encoding has, a table, a bar; then it is done.
WRITES = """
import os, sys, time
from pathlib import Path
from rich.table import Table
from serve_app.commands.console import say
from serve_app.commands.end2end import progress_bar
from serve_app.terminal import new_console
console = new_console()
for number in range(3000):
    say(console, f"[{number}] starting \\u2026 " + os.fsdecode(b"caf\\xe9.wav") + " \\u4f60")
with progress_bar(console, 3) as advance:
    advance()
table = Table(title="Statistics \\u2013")
table.add_row("\\u4f60")
console.print(table)
Path(sys.argv[1]).write_text("done")
"""


def run(tmp_path: Path, shell: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = f'"{sys.executable}" -c "$CODE" "{tmp_path}/done" {shell}'
    ran = subprocess.run(
        ["bash", "-c", command],
        env=os.environ | {"CODE": WRITES} | environment,
        capture_output=True,
        text=True,
        encoding="latin-1",
        timeout=120,
    )
    assert (tmp_path / "done").exists(), ran.stderr
    return ran


@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "latin-1"},
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "utf-8:strict"},
    ],
    ids=str,
)
def test_every_locale_takes_every_line(tmp_path: Path, environment: dict[str, str]) -> None:
    ran = run(tmp_path, "", **environment)
    assert ran.returncode == 0 and not ran.stderr
    assert "[2999] starting" in ran.stdout and "\\udce9.wav" in ran.stdout


@pytest.mark.parametrize("shell", ["| head -1", ">&-", ">/dev/full"])
def test_a_reader_that_leaves_ends_nothing(tmp_path: Path, shell: str) -> None:
    ran = run(tmp_path, f"{shell}; exit ${{PIPESTATUS[0]}}")
    assert ran.returncode == 0 and not ran.stderr


def test_a_terminal_shows_lines_and_bars(tmp_path: Path) -> None:
    reading, writing = pty.openpty()
    code = WRITES.replace("3000", "3")
    command = [sys.executable, "-c", code, str(tmp_path / "done")]
    environment = os.environ | {"TERM": "xterm", "PYTHONIOENCODING": "utf-8"}
    with subprocess.Popen(command, stdout=writing, stderr=writing, env=environment) as running:
        os.close(writing)
        shown = b""
        with suppress(OSError):  # EIO is how a terminal ends
            while piece := os.read(reading, 65536):
                shown += piece
    os.close(reading)
    assert running.returncode == 0, shown.decode()
    assert b"[2] starting" in shown and b"prompts" in shown and b"1/3" in shown


def test_a_line_can_be_said_on_any_console() -> None:
    file = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    say(Console(file=file), "[bold] caf\udce9 \u4f60")
    file.flush()
    assert file.buffer.getvalue() == b"[bold] caf\\udce9 \\u4f60\n"  # type: ignore[attr-defined]
