"""The console of every command: no locale and no closed pipe ends a run."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
        return getattr(_stdout(), "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        if (stream := _stdout()) is not None:
            with _given_up(stream):
                stream.write(encodable(text, self.encoding))
        return len(text)

    def flush(self) -> None:
        if (stream := _stdout()) is not None:
            with _given_up(stream):
                stream.flush()

    def isatty(self) -> bool:
        try:
            return bool((stream := _stdout()) and stream.isatty())
        except ValueError:  # it was closed
            return False

    def fileno(self) -> int:
        """Raises OSError where there is none."""
        if (stream := _stdout()) is None:
            raise OSError("there is no standard output")
        return stream.fileno()


def _stdout() -> TextIO | None:
    """Standard output, and not what rich puts in its place to write through its console."""
    return getattr(sys.stdout, "rich_proxied_file", sys.stdout)


def encodable(text: str, encoding: str) -> str:
    """`text` with escapes in place of what `encoding` does not have."""
    return text.encode(encoding, "backslashreplace").decode(encoding)


@contextmanager
def _given_up(stream: TextIO) -> Iterator[None]:
    """Lead a stream nowhere once it fails, or Python would flush it once more when it exits."""
    try:
        yield
    except (OSError, ValueError):  # a pipe that was closed, a full disk
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
