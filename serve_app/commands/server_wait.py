"""Waits for a server, names what it sees meanwhile, and gives up where nothing can come."""

import json
import socket
import time
from collections.abc import Callable
from typing import Any

import httpx
from rich.console import Console

from deployments.errors import ConfigError
from serve_app.commands.console import say

ASK_EVERY_S = 0.5
REPORT_EVERY_S = 5.0  # where the output is no terminal
ANSWERS_WITHIN_S = 5.0
STARTING = (500, 502, 503, 504)  # HAProxy's and ours, until every stage has a replica
RAY_SERVES_OWN_404 = "/-/routes"  # its text names this path until the graph has a route


def wait_until_ready(
    client: httpx.Client,
    wait_s: float,
    check: Callable[[], str | None],
    console: Console,
) -> None:
    """Return once `/health` is 200; say meanwhile how long it has waited, and for what.

    Args:
        client: Of the server.
        wait_s: How long it may take.
        check: Gives what the server itself says that it waits for, and raises ConfigError once it
            never will be ready.
        console: Where that is said.

    Raises:
        ConfigError: the server did not become ready in time, or never can.
    """
    begin = last = time.monotonic()
    with console.status("waiting for the server") as status:
        while True:
            awaited = check()
            if (seen := look(client)) is None:
                break
            waited_s = time.monotonic() - begin
            if waited_s > wait_s:
                raise ConfigError(f"{client.base_url} was not ready after {wait_s:g} s: {seen}")
            line = f"waiting for the server, {waited_s:.0f} s: {awaited or seen}"
            status.update(line)
            if not console.is_terminal and time.monotonic() - last >= REPORT_EVERY_S:
                last = time.monotonic()
                say(console, line)
            time.sleep(ASK_EVERY_S)
    say(console, f"the server is ready after {time.monotonic() - begin:.0f} s")


def look(client: httpx.Client) -> str | None:
    """Ask `/health` once: None where it is ready, else what was seen.

    Raises:
        ConfigError: what answers will never be our server, or nothing can answer.
    """
    where = client.base_url
    try:
        answer = client.get("/health", timeout=ANSWERS_WITHIN_S)
    except httpx.TimeoutException:
        return f"{where} does not answer within {ANSWERS_WITHIN_S:g} s"
    except httpx.TransportError as error:
        if _cause(error, socket.gaierror):
            raise ConfigError(f"{where}: there is no host of that name") from error
        return f"{where}: {error}"
    if answer.status_code == 200 and _body(answer).get("status") == "ok":
        return None
    said = f"{where}/health answers {answer.status_code}"
    starting = answer.status_code in STARTING or RAY_SERVES_OWN_404 in answer.text
    if answer.status_code == 200 or not starting:
        raise ConfigError(f"{said}: that is not a server of Step-Audio 2")
    why = complaint(answer)
    return f"{said}, {why}" if why else said


def complaint(answer: httpx.Response) -> str | None:
    """The message of an error in OpenAI's format; None where there is none."""
    error = _body(answer).get("error")
    return str(error.get("message")) if isinstance(error, dict) else None


def _body(answer: httpx.Response) -> dict[str, Any]:
    try:
        body = answer.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        return {}
    return body if isinstance(body, dict) else {}


def _cause(error: BaseException | None, kind: type[BaseException]) -> bool:
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error is not None
