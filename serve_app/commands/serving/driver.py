"""`python -m serve_app.commands.serving.driver CONFIG PID PAGE`: `serve run` and a watch.

`step-audio2 serve`, process PID, runs it in a session of its own. Ray is this process's child.
"""

import os
import signal
import sys
import threading
import time
from contextlib import suppress

import click
import ray
from ray._private.worker import get_dashboard_url
from ray.exceptions import RayError
from ray.serve.context import _get_global_client
from ray.serve.exceptions import RayServeException
from ray.serve.schema import ServeInstanceDetails
from ray.serve.scripts import cli as serve_cli

from serve_app.commands.serving import progress
from serve_app.commands.serving.session import at_death_of, end_own_session

ASK_EVERY_S = 1.0
SAY_AFTER_S = 15.0  # nano is ready sooner than that where the machine is free
SAY_EVERY_S = 30.0
RAY_STARTS_WITHIN_S = 120.0


class Watch:
    """Says what the graph waits for until it runs, and interrupts `serve run` if it never will."""

    def __init__(self, page_url: str) -> None:
        """`page_url` is where a person can talk to the graph once it runs."""
        self.failure: str | None = None
        self._page_url = page_url
        self._said_at = time.monotonic() + SAY_AFTER_S - SAY_EVERY_S

    def run(self) -> None:
        self._await_ray()
        while self.failure is None:
            details = instance_details()
            if details is None:
                self._say_now_and_then("Ray Serve is starting")
            elif progress.is_running(details):
                say(f"talk to it in a browser: {self._page_url}")
                say(f"watch it: step-audio2 top --dashboard {dashboard_url()}")
                return
            else:
                self.failure = progress.failure(details)
                self._say_now_and_then(*sentences(details))
            time.sleep(ASK_EVERY_S)
        os.kill(os.getpid(), signal.SIGINT)

    def _await_ray(self) -> None:
        where = os.environ.get("RAY_ADDRESS", "this machine")
        gives_up_at = time.monotonic() + RAY_STARTS_WITHIN_S
        while not ray.is_initialized():
            if time.monotonic() > gives_up_at:
                say(f"Ray at {where} has not answered for {RAY_STARTS_WITHIN_S:g} s")
                os._exit(1)  # Ray's own attempts cannot be interrupted; our session is killed
            self._say_now_and_then(f"waiting for Ray at {where}")
            time.sleep(ASK_EVERY_S)

    def _say_now_and_then(self, *sentences: str) -> None:
        if sentences and time.monotonic() - self._said_at >= SAY_EVERY_S:
            self._said_at = time.monotonic()
            for sentence in sentences:
                say(sentence)


def instance_details() -> ServeInstanceDetails | None:
    """Ray Serve's account of all applications; None while its controller starts or stops."""
    with suppress(RayError, RayServeException):
        client = _get_global_client(raise_if_no_controller_running=False)
        return ServeInstanceDetails(**client.get_serve_details()) if client else None
    return None


def sentences(details: ServeInstanceDetails) -> list[str]:
    """What the graph waits for, a line each."""
    with suppress(RayError):
        cluster, free = ray.cluster_resources(), ray.available_resources()
        waiting = [one.sentence(cluster, free) for one in progress.waiting(details)]
        return waiting or ["the graph is being built"]
    return []


def dashboard_url() -> str:
    """Of the Ray that this process has joined: the port is another one where 8265 was taken."""
    return f"http://{get_dashboard_url()}"


def say(line: str) -> None:
    print(f"step-audio2: {line}", file=sys.stderr, flush=True)


def main(config: str, supervisor: int, page_url: str) -> int:
    """`serve run config` until SIGINT; an end without a signal is a failure."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's `&` has it ignored
    at_death_of(supervisor, end_own_session)
    watch = Watch(page_url)
    threading.Thread(target=watch.run, name="watch", daemon=True).start()
    address = [] if os.environ.get("RAY_ADDRESS") else ["--address", "local"]
    # where Ray is still starting, this process's end stops it
    with suppress(SystemExit, KeyboardInterrupt, click.exceptions.Abort):
        _serve(["run", *address, config])
    if watch.failure is not None:
        say(f"the graph did not start: {watch.failure}")
    return 1


def _serve(command: list[str]) -> None:
    """Ray Serve's command; where Ray itself does not start, a line says so instead of a traceback.

    Ray gives its node 30 s, which a busy machine may need for the start of its processes alone.
    """
    try:
        serve_cli.main(command, standalone_mode=False)
    except Exception as error:
        if ray.is_initialized():
            raise
        why = str(error) or repr(error)
        say(f"Ray did not start: {why.splitlines()[0]}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
