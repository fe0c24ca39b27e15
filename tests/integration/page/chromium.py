"""Debian's Chromium with a microphone that plays a file, and what a test asks of the page."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.integration.page.drivers import AXE, missing, program

HOST = "page.test"  # no name that browsers trust: a page of it is no secure context
ARGUMENTS = (
    "--no-sandbox",
    "--mute-audio",  # of this machine; what the page plays is measured in the page
    "--autoplay-policy=no-user-gesture-required",  # for `LISTEN`
    f"--host-resolver-rules=MAP {HOST} 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
FAKE_MICROPHONE = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
WITHIN_MS = 20_000

# The loudness (root mean square) of what is heard, measured at the player's output: of the moment,
# and the most of it since then.
LISTEN = """async () => {
  const { player } = window.page;
  await player.open();
  const analyser = player.output.context.createAnalyser();
  player.output.connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  window.loudness = () => {
    analyser.getFloatTimeDomainData(samples);
    return Math.hypot(...samples) / Math.sqrt(samples.length);
  };
  window.loudest = 0;
  setInterval(() => { window.loudest = Math.max(window.loudest, window.loudness()); }, 20);
}"""


@contextmanager
def chromium(
    playwright: Any, sound: Path | None = None, *, microphone: bool = True
) -> Iterator[Any]:
    """A browser whose microphone plays `sound` once, or beeps, or is denied."""
    arguments = [*ARGUMENTS, *(FAKE_MICROPHONE if microphone else ())]
    if sound is not None:
        arguments.append(f"--use-file-for-fake-audio-capture={sound}%noloop")
    browser = playwright.chromium.launch(
        executable_path=program("chromium", "chromium-browser"), args=arguments
    )
    try:
        yield browser
    finally:
        browser.close()


class Visit:
    """One visit to the page: its requests, its errors."""

    def __init__(self, browser: Any, url: str, **options: Any) -> None:
        self.url = url
        self.requests: list[str] = []
        self.sockets: list[str] = []
        self.errors: list[str] = []
        self.page = browser.new_page(**options)
        self.page.set_default_timeout(WITHIN_MS)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("websocket", lambda socket: self.sockets.append(socket.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._note)
        self.page.goto(url)

    def _note(self, message: Any) -> None:
        if message.type == "error" and "401" not in message.text:
            self.errors.append(message.text)

    def say(self, text: str) -> None:
        """Type a turn."""
        self.page.fill("#type-text", text)
        self.page.press("#type-text", "Enter")

    def listen(self) -> None:
        """Measure from now on what is heard."""
        self.page.evaluate(LISTEN)

    def wait_until(self, claim: str) -> None:
        """Wait for an expression to be true. The page's policy forbids Playwright's own way."""
        gives_up_at = time.monotonic() + WITHIN_MS / 1000
        while not self.page.evaluate(claim):
            assert time.monotonic() < gives_up_at, claim
            self.page.wait_for_timeout(20)

    def wait_for_sound(self) -> None:
        self.wait_until("window.loudest > 0.05")

    def wait_for_silence(self) -> None:
        self.wait_until("window.loudness() < 0.001")

    def wait_for_state(self, sentence: str) -> None:
        self.wait_until(f"document.getElementById('state').textContent.startsWith('{sentence}')")

    def violations(self) -> list[str]:
        """What axe finds wrong with the page as it is now."""
        if not AXE.exists():
            missing("axe-core")
        self.page.evaluate(AXE.read_text("utf-8"))
        found = self.page.evaluate("() => axe.run()")["violations"]
        return [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found]

    def assert_clean(self) -> None:
        """Nothing was asked of another host, and nothing went wrong."""
        elsewhere = [url for url in self.requests + self.sockets if not self._is_ours(url)]
        assert elsewhere == []
        assert self.errors == []

    def _is_ours(self, url: str) -> bool:
        ours = self.url.removeprefix("http:").partition("?")[0]
        return url.startswith(("blob:", "data:")) or url.partition(":")[2].startswith(ours)
