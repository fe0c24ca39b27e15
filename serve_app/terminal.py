"""The console of every command: no locale and no closed pipe ends a run."""

import os
import sys
from contextlib import suppress
from typing import TextIO

from rich.console import Console


def new_console() -> Console:
    """A console on standard output that never raises for what it writes."""
    return Console(file=LastingOutput())  # type: ignore[arg-type]  # what rich needs of a file


class LastingOutput:
    """Standard output for as long as it takes anything; afterwards nothing is written.

    What its encoding does not have is written as an escape, such as `\\u2026`.
    """

    @property
    def encoding(self) -> str:
        return getattr(sys.stdout, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        try:
            if sys.stdout is not None:
                sys.stdout.write(encodable(text, self.encoding))
        except (OSError, ValueError):  # a pipe that was closed, a full disk
            _give_up(sys.stdout)
        return len(text)

    def flush(self) -> None:
        try:
            if sys.stdout is not None:
                sys.stdout.flush()
        except (OSError, ValueError):
            _give_up(sys.stdout)

    def isatty(self) -> bool:
        try:
            return sys.stdout is not None and sys.stdout.isatty()
        except ValueError:  # it was closed
            return False

    def fileno(self) -> int:
        if sys.stdout is None:
            raise OSError("there is no standard output")
        return sys.stdout.fileno()


def encodable(text: str, encoding: str) -> str:
    """`text` with escapes in place of what `encoding` does not have."""
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _give_up(stream: TextIO) -> None:
    """Lead a stream nowhere, or Python would try once more to flush it when it exits."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
