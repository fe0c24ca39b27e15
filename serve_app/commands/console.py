"""What the commands have in common when they write to a terminal or a log."""

from rich.console import Console


def say(console: Console, line: str) -> None:
    """A line as it is: what a model or a path holds may look like markup."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)
