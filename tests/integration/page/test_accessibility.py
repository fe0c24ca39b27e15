"""What axe finds on every part of the page, in both colours and on a phone."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.page.chromium import Visit
from tests.integration.page.drivers import slow
from tests.integration.page.server import LONG

LAPTOP = {"viewport": {"width": 1280, "height": 800}}
PHONE = {
    "viewport": {"width": 390, "height": 780},
    "device_scale_factor": 2,
    "is_mobile": True,
    "has_touch": True,
}
SIGHTS: dict[str, dict[str, Any]] = {
    "light": LAPTOP,
    "dark": LAPTOP | {"color_scheme": "dark"},
    "phone": PHONE,
    "still": LAPTOP | {"reduced_motion": "reduce"},
}
SCREENSHOTS = os.environ.get("SCREENSHOTS")  # a folder


class Sight:
    """Looks at one state of the page after the other."""

    def __init__(self, visit: Visit, name: str) -> None:
        self.page = visit.page
        self._visit = visit
        self._name = name

    def look(self, part: str) -> None:
        if SCREENSHOTS:
            path = Path(SCREENSHOTS) / f"{self._name}-{part}.png"
            self.page.screenshot(path=path)

    def check(self, part: str) -> None:
        self.look(part)
        assert self._visit.violations() == [], part
        is_wider = "document.documentElement.scrollWidth > innerWidth"
        assert not self.page.evaluate(is_wider), part


@slow
@pytest.mark.parametrize("name", SIGHTS)
def test_no_part_of_the_page_shuts_anybody_out(
    visit: Callable[..., Visit], sample: Path, name: str
) -> None:
    at = visit(**SIGHTS[name])
    sight = Sight(at, name)
    at.page.wait_for_selector("#voice option", state="attached")
    sight.check("welcome")
    at.say(LONG)
    at.wait_until("document.querySelectorAll('.assistant .word.said').length > 3")
    sight.look("talk")
    at.page.focus("#transcript")
    at.page.keyboard.press("Escape")
    at.page.wait_for_selector(".interrupted")
    at.page.click("#talk-button")
    at.wait_for_state("Listening")
    sight.check("interrupted")
    at.page.keyboard.press("Escape")
    at.page.click("#read-tab")
    at.page.fill("#read-text", "Hello there")
    at.page.click("#read-button")
    at.page.wait_for_selector("#read-answer .icons button")
    sight.check("read")
    at.page.click("#write-tab")
    at.page.set_input_files("#write-file", sample)
    at.page.click("#write-button")
    at.page.wait_for_selector("#write-save:visible")
    sight.check("write")
    if at.page.is_visible("#settings-button"):
        at.page.click("#settings-button")
        sight.check("settings")
    at.page.click("#voice-add")
    sight.check("voice")
