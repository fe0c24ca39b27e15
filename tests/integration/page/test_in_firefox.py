"""The page in Firefox, whose microphone has the device's own rate."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.page.chromium import LISTEN
from tests.integration.page.drivers import slow
from tests.integration.page.firefox import Firefox, firefox

NOW = "!!document.querySelector('article.assistant .word.now')"
pytestmark = slow


@pytest.fixture
def at(thorough: None, url: str, tmp_path_factory: Any) -> Iterator[Firefox]:
    with firefox(tmp_path_factory.mktemp("profile")) as browser:
        browser.open(f"{url}?aec=0")
        browser.wait_until("document.querySelectorAll('#voice option').length > 1")
        browser.evaluate(f"({LISTEN})()")
        yield browser
        port = url.rpartition(":")[2]
        elsewhere = [one for one in browser.requests if f":{port}" not in one]
        assert [one for one in elsewhere if not one.startswith(("blob:", "data:"))] == []
        assert browser.errors == []


def test_somebody_talks_is_answered_and_interrupts(at: Firefox) -> None:
    at.press("#turns input[value=hold]")
    at.press("#talk-button")
    at.wait_for_state("Hold Space")
    at.evaluate("document.getElementById('transcript').focus()")
    at.key("keyDown", " ")
    at.wait_for_state("I hear you")
    time.sleep(1)  # of speech
    at.key("keyUp", " ")
    at.wait_until(NOW)
    at.wait_until("window.loudest > 0.05")
    at.key("keyDown", "\ue00c")  # Escape
    at.wait_until("window.loudness() < 0.001")
    at.wait_until("!!document.querySelector('.interrupted .word.said')")


def test_a_typed_turn_is_answered_and_heard_to_its_end(at: Firefox) -> None:
    at.press("#type-text")
    for letter in "Hello there":
        at.key("keyDown", letter)
        at.key("keyUp", letter)
    at.key("keyDown", "\ue007")  # Enter
    at.wait_until(NOW)
    at.wait_until("window.loudest > 0.05")
    at.wait_for_state("Connected")
    at.wait_until("window.loudness() < 0.001")
    assert "first sound" in at.evaluate("document.querySelector('.figures').textContent")
