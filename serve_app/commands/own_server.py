"""`step-audio2 serve` for as long as a block lasts: the server of `step-audio2 demo --start`."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from deployments.errors import ConfigError
from serve_app.commands.config_file import read_configuration
from serve_app.commands.console import say
from serve_app.commands.serving.session import GRACE_S, KILLED_WITHIN_S

COMPLAINT = re.compile(r"\bConfigError: (?P<what>[^\x1b\n]+)")
OURS = re.compile(r"^step-audio2: (?P<what>.+)$", re.MULTILINE)
EVERY_ADDRESS = ("0.0.0.0", "::")
LINES_SHOWN = 15


@contextmanager
def server(
    config: Path, log: Path, console: Console
) -> Iterator[tuple[str, Callable[[], str | None]]]:
    """Serve `config` for as long as the block lasts.

    Gives its URL, and a function that says what the server waits for.

    Raises:
        ConfigError: from that function, once the server is gone or never will be ready.
    """
    configuration = read_configuration(config)
    host = "127.0.0.1" if configuration.host in EVERY_ADDRESS else configuration.host
    say(console, f"step-audio2 serve {config} (its log: {log})")
    command = [sys.executable, "-m", "serve_app", "serve", str(config)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            yield f"http://{host}:{configuration.port}", lambda: watch(process, log)
        finally:
            say(console, "shutting the server down")
            stop(process)


def watch(process: "subprocess.Popen[bytes]", log: Path) -> str | None:
    """What the server said last that it waits for.

    Raises:
        ConfigError: it is gone, or a stage refuses its configuration: Serve would try for long.
    """
    said = log.read_text(errors="replace")
    if found := COMPLAINT.search(said):
        raise ConfigError(found["what"].strip())
    ours = [line["what"].strip() for line in OURS.finditer(said)]
    if process.poll() is not None:
        last = "\n".join(said.splitlines()[-LINES_SHOWN:])
        why = OURS.findall(last)
        raise ConfigError(why[-1].strip() if why else f"the server stopped:\n{last}")
    return ours[-1] if ours else None


def stop(process: "subprocess.Popen[bytes]") -> None:
    """End the server, which ends all that it has started."""
    process.terminate()
    try:
        process.wait(GRACE_S + 2 * KILLED_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()  # what it has started notices that, too
        process.wait()
