"""Debian's Firefox over WebDriver BiDi: it speaks that itself, without another program."""

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests.integration.page.drivers import program

STARTS_WITHIN_S = 60.0
WITHIN_S = 60.0
LISTENING = re.compile(r"WebDriver BiDi listening on (ws://\S+)")
PREFERENCES = {
    "media.navigator.streams.fake": True,  # a microphone that hums
    "media.navigator.permission.disabled": True,
    "media.autoplay.default": 0,
    "media.volume_scale": "0.0",
    # Nothing but this machine is reached: what Firefox itself asks for goes to a closed port.
    "network.proxy.type": 1,
    "network.proxy.http": "127.0.0.1",
    "network.proxy.http_port": 9,
    "network.proxy.ssl": "127.0.0.1",
    "network.proxy.ssl_port": 9,
    "network.proxy.allow_hijacking_localhost": False,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "app.update.auto": False,
}


class Firefox:
    """One tab."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._commands = 0
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.call("session.new", capabilities={})
        self.call("session.subscribe", events=["network.beforeRequestSent", "log.entryAdded"])
        self._tab = self.call("browsingContext.getTree")["contexts"][0]["context"]

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """A command's result."""
        self._commands += 1
        order = {"id": self._commands, "method": method, "params": params}
        self._socket.send(json.dumps(order))
        while True:
            message = json.loads(self._socket.recv(timeout=WITHIN_S))
            if message.get("id") == self._commands:
                assert message["type"] == "success", message
                result: dict[str, Any] = message["result"]
                return result
            self._note(message)

    def _note(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        if event.get("method") == "network.beforeRequestSent":
            self.requests.append(params["request"]["url"])
        if event.get("method") == "log.entryAdded" and params["level"] == "error":
            self.errors.append(params["text"])

    def open(self, url: str) -> None:
        self.call("browsingContext.navigate", context=self._tab, url=url, wait="complete")

    def evaluate(self, expression: str) -> Any:
        """The value of an expression: a number, a text, a truth."""
        answer = self.call(
            "script.evaluate",
            expression=expression,
            target={"context": self._tab},
            awaitPromise=True,
            userActivation=True,
        )
        assert answer["type"] == "success", answer
        return answer["result"].get("value")

    def wait_until(self, claim: str) -> None:
        gives_up_at = time.monotonic() + WITHIN_S
        while not self.evaluate(claim):
            assert time.monotonic() < gives_up_at, claim
            time.sleep(0.05)

    def wait_for_state(self, sentence: str) -> None:
        self.wait_until(f"document.getElementById('state').textContent.startsWith('{sentence}')")

    def press(self, selector: str) -> None:
        """Click an element as a person does."""
        (x, y) = json.loads(self.evaluate(f"JSON.stringify({middle_of(selector)})"))
        pointer = [
            {"type": "pointerMove", "x": x, "y": y},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerUp", "button": 0},
        ]
        self._act({"type": "pointer", "id": "mouse", "actions": pointer})

    def key(self, what: str, key: str) -> None:
        """`keyDown` or `keyUp` of a key."""
        self._act({"type": "key", "id": "keys", "actions": [{"type": what, "value": key}]})

    def _act(self, source: dict[str, Any]) -> None:
        self.call("input.performActions", context=self._tab, actions=[source])


def middle_of(selector: str) -> str:
    """An expression: where the middle of an element is, in pixels."""
    box = f"document.querySelector('{selector}').getBoundingClientRect()"
    return f"(b => [Math.round(b.x + b.width / 2), Math.round(b.y + b.height / 2)])({box})"


@contextmanager
def loudspeaker(folder: Path) -> Iterator[dict[str, str]]:
    """The environment of a program that plays to nobody: Firefox plays nothing without a device."""
    folder.mkdir(mode=0o700)
    socket = folder / "native"
    command = [program("pulseaudio"), "-n", "--exit-idle-time=-1", "--use-pid-file=no"]
    command += ["-L", "module-null-sink", "-L", f"module-native-protocol-unix socket={socket}"]
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(folder), "HOME": str(folder)}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        gives_up_at = time.monotonic() + STARTS_WITHIN_S
        while not socket.exists():
            assert process.poll() is None and time.monotonic() < gives_up_at
            time.sleep(0.05)
        yield {**os.environ, "PULSE_SERVER": f"unix:{socket}"}
    finally:
        process.kill()
        process.wait()


@contextmanager
def firefox(folder: Path) -> Iterator[Firefox]:
    """A browser whose profile is in `folder`."""
    with loudspeaker(folder / "sound") as environment:
        yield from _browser(folder, environment)


def _browser(folder: Path, environment: dict[str, str]) -> Iterator[Firefox]:
    preferences = (f"user_pref({json.dumps(k)}, {json.dumps(v)});" for k, v in PREFERENCES.items())
    (folder / "user.js").write_text("\n".join(preferences))
    command = [program("firefox-esr", "firefox"), "--headless", "--no-remote"]
    command += ["--profile", str(folder), "--remote-debugging-port", "0"]
    log = folder / "firefox.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
    try:
        with connect(f"{_address(process, log)}/session", max_size=None) as socket:
            yield Firefox(socket)
    finally:
        process.kill()
        process.wait()


def _address(process: "subprocess.Popen[bytes]", log: Path) -> str:
    gives_up_at = time.monotonic() + STARTS_WITHIN_S
    while (found := LISTENING.search(log.read_text(errors="replace"))) is None:
        assert process.poll() is None and time.monotonic() < gives_up_at, log.read_text()
        time.sleep(0.1)
    return found[1]
