"""What the commands have in common when they write to a terminal or a log."""

from rich.console import Console

from serve_app.terminal import encodable


def say(console: Console, line: str) -> None:
    """A line as it is: what a model or a path holds may look like markup, or be in no encoding."""
    text = encodable(line, console.encoding)
    console.print(text, markup=False, highlight=False, soft_wrap=True)
