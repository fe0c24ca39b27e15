"""The demo names what it waits for, gives up where nothing can come, and ends what it started."""

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest
from rich.console import Console

from deployments.errors import ConfigError
from serve_app.commands.own_server import watch
from serve_app.commands.server_wait import look, wait_until_ready
from tests.waiting import wait_until

READY = (200, b'{"status": "ok"}')
STARTING = (503, b'{"error": {"message": "the server is starting; try again later"}}')
NO_ROUTE_YET = (404, b"Path '/health' not found. Ping http://.../-/routes for available routes.")


class Answer(BaseHTTPRequestHandler):
    """Answers every request alike."""

    def __init__(self, status: int, body: bytes, *args: object) -> None:
        self.status, self.body = status, body
        super().__init__(*args)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("content-length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def answering(status: int, body: bytes = b"") -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), partial(Answer, status, body)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def silent() -> Iterator[str]:
    """Accepts connections and answers nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def nobody() -> Iterator[str]:
    with silent() as url:
        pass
    yield url


def seen(server: AbstractContextManager[str]) -> str | None:
    with server as url, httpx.Client(base_url=url, trust_env=False) as client:
        return look(client)


def test_a_ready_server_is_waited_for_no_longer() -> None:
    assert seen(answering(*READY)) is None


@pytest.mark.parametrize(
    ("server", "what"),
    [
        (partial(answering, *STARTING), "answers 503, the server is starting"),
        (partial(answering, *NO_ROUTE_YET), "answers 404"),
        (partial(answering, 500, b"Internal Server Error"), "answers 500"),
        (nobody, "refused"),
    ],
)
def test_a_server_that_may_still_come_is_named_with_what_is_seen(
    server: Callable[[], AbstractContextManager[str]], what: str
) -> None:
    line = seen(server())
    assert line is not None and line.startswith("http://127.0.0.1:") and what in line


def test_a_server_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve_app.commands.server_wait.ANSWERS_WITHIN_S", 0.1)
    assert "does not answer within 0.1 s" in str(seen(silent()))


@pytest.mark.parametrize(
    ("status", "body"),
    [(404, b"not found"), (200, b"<html>sign in</html>"), (200, b"[]"), (401, b""), (302, b"")],
)
def test_a_server_that_is_not_ours_is_given_up_at_once(status: int, body: bytes) -> None:
    with pytest.raises(ConfigError, match=rf"/health answers {status}: that is not a server"):
        seen(answering(status, body))


def test_a_host_that_has_no_address_is_given_up_at_once() -> None:
    with (
        httpx.Client(base_url="http://there-is-none.invalid", trust_env=False) as client,
        pytest.raises(ConfigError, match=r"none\.invalid: there is no host of that name"),
    ):
        look(client)


def test_what_is_waited_for_is_said_where_the_output_is_no_terminal(monkeypatch) -> None:
    monkeypatch.setattr("serve_app.commands.server_wait.REPORT_EVERY_S", 0)
    console = Console(record=True, width=200, force_terminal=False)
    with nobody() as url, httpx.Client(base_url=url, trust_env=False) as client:
        with pytest.raises(ConfigError, match=r"was not ready after 0\.6 s: http.*refused"):
            wait_until_ready(client, 0.6, lambda: None, console)
        with pytest.raises(ConfigError):
            wait_until_ready(client, 0.6, lambda: "Ingress waits for 0.25 CPU", console)
    shown = console.export_text()
    assert f"waiting for the server, 0 s: {url}" in shown
    assert "waiting for the server, 0 s: Ingress waits for 0.25 CPU" in shown


def test_a_server_that_stops_is_given_up_with_its_own_reason(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    with subprocess.Popen(["sleep", "60"]) as process:
        log.write_text("INFO\nstep-audio2: Ingress waits for 0.25 CPU\n")
        assert watch(process, log) == "Ingress waits for 0.25 CPU"
        process.kill()
    log.write_text("INFO\nstep-audio2: the model directory lacks m/config.json\nINFO end\n")
    with pytest.raises(ConfigError, match=r"^the model directory lacks m/config.json$"):
        watch(process, log)
    log.write_text("Killed\n")
    with pytest.raises(ConfigError, match="the server stopped:\nKilled"):
        watch(process, log)


# The demo over a server that never comes; it notes that it is waited for, and that it is stopped.
DEMO = """
import contextlib, sys
from pathlib import Path
from serve_app.commands import demo
from serve_app.commands.serving.session import ends_in_order
from rich.console import Console
note = Path(sys.argv[1])
@contextlib.contextmanager
def server(*_):
    try:
        yield "http://127.0.0.1:9", lambda: note.with_name("waits").touch()
    finally:
        note.with_name("stopped").touch()
demo.server = server
with ends_in_order():
    demo.run(demo.Options(start=note, output_dir=note.parent), Console())
"""


@contextmanager
def started(command: list[str]) -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_stops_the_server_that_the_demo_started(tmp_path: Path, signum: int) -> None:
    command = [sys.executable, "-c", DEMO, str(tmp_path / "note")]
    with started(command) as process:
        wait_until((tmp_path / "waits").exists)
        process.send_signal(signum)
        assert process.wait(30) == -signum
    assert (tmp_path / "stopped").exists()


def test_the_death_of_the_parent_stops_the_server_that_the_demo_started(tmp_path: Path) -> None:
    parent = "import subprocess, sys; subprocess.run(sys.argv[1:])"
    command = [sys.executable, "-c", parent, sys.executable, "-c", DEMO, str(tmp_path / "note")]
    with started(command):
        wait_until((tmp_path / "waits").exists)
    wait_until((tmp_path / "stopped").exists)
