"""Somebody speaks to the page: a question, an answer, an interruption."""

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from tests.integration.page.chromium import Visit, chromium
from tests.integration.page.drivers import slow
from tests.integration.page.microphone import loudest, recorded, silence, speech
from tests.integration.page.server import LONG

ANSWER = "article.assistant"
pytestmark = slow


class Frames:
    """What goes over the sockets of a visit, and when it came."""

    def __init__(self, visit: Visit) -> None:
        self.received: list[tuple[float, dict[str, Any]]] = []
        self.sent: list[dict[str, Any]] = []
        visit.page.on("websocket", self._follow)

    def _follow(self, socket: Any) -> None:
        socket.on("framereceived", lambda frame: self.received.append((now(), json.loads(frame))))
        socket.on("framesent", lambda frame: self.sent.append(json.loads(frame)))

    def came(self, kind: str) -> list[float]:
        """When events of this kind came."""
        return [at for at, event in self.received if event["type"] == kind]

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The client's own events of this kind."""
        return [event for event in self.sent if event["type"] == kind]


def now() -> float:
    return time.monotonic()


def talk(visit: Visit, turns: str = "semantic") -> Frames:
    """Choose whose turn it is when, and press the button."""
    frames = Frames(visit)
    visit.listen()
    visit.page.check(f"input[value={turns}]")
    visit.page.click("#talk-button")
    return frames


def assert_interrupted(visit: Visit, frames: Frames) -> None:
    """An answer stops because somebody speaks, and the server learns what was heard."""
    spoken = "input_audio_buffer.speech_started"
    visit.page.wait_for_selector(f"{ANSWER} .word.now")
    visit.wait_for_sound()
    while len(frames.came(spoken)) < 2:
        visit.page.wait_for_timeout(5)
    visit.wait_for_silence()
    silent_after_s = now() - frames.came(spoken)[1]
    print(f"speech_started -> silence on the page: {1000 * silent_after_s:.0f} ms")
    assert silent_after_s < 1.5  # 200 ms of speech in semantic mode, and a slow machine
    visit.page.wait_for_selector(f"{ANSWER}.interrupted")
    truncate = frames.of("conversation.item.truncate")[0]
    assert 500 < truncate["audio_end_ms"] < 12_000
    said = visit.page.locator(f"{ANSWER}.interrupted .word.said").count()
    assert 0 < said < len(LONG.split())


@pytest.mark.parametrize("turns", ["semantic", "quick"])
def test_a_question_is_answered_and_the_answer_can_be_interrupted(
    playwright: Any, url: str, tmp_path: Path, turns: str
) -> None:
    sounds = (silence(0.5), speech(), silence(7), speech(), silence(4))
    with chromium(playwright, recorded(tmp_path / "spoken.wav", *sounds)) as browser:
        at = Visit(browser, f"{url}?aec=0")
        frames = talk(at, turns)
        assert_interrupted(at, frames)
        at.wait_until("document.querySelectorAll('.turn.user').length >= 2")
        assert re.match(r"heard \d\.\d+ s", at.page.inner_text(".turn.user p"))
        figures = at.page.inner_text(f"{ANSWER} .figures")
        assert re.match(r"first sound \d\.\d+ s", figures)
        print(figures)
        at.assert_clean()


def test_a_short_sound_does_not_stop_an_answer(playwright: Any, url: str, tmp_path: Path) -> None:
    sounds = (silence(0.5), speech(), silence(6), loudest(0.12), silence(4))
    with chromium(playwright, recorded(tmp_path / "mhm.wav", *sounds)) as browser:
        at = Visit(browser, f"{url}?aec=0")
        frames = talk(at)
        at.page.wait_for_selector(f"{ANSWER} .word.now")
        at.page.wait_for_timeout(7000)
        assert at.page.locator(f"{ANSWER}.interrupted").count() == 0
        assert frames.of("conversation.item.truncate") == []
        at.assert_clean()


def test_a_turn_lasts_as_long_as_space_is_held(playwright: Any, url: str, tmp_path: Path) -> None:
    with chromium(playwright, recorded(tmp_path / "held.wav", *[speech()] * 8)) as browser:
        at = Visit(browser, f"{url}?aec=0")
        frames = talk(at, "hold")
        at.wait_for_state("Hold Space")
        at.page.focus("#transcript")
        at.page.keyboard.down("Space")
        at.wait_for_state("I hear you")
        at.page.wait_for_timeout(1000)
        at.page.keyboard.up("Space")
        at.page.wait_for_selector(f"{ANSWER} .word.now")
        assert len(frames.of("input_audio_buffer.commit")) == 1
        sent = frames.of("input_audio_buffer.append")
        assert 10 < len(sent) < 60  # of 40 ms
        at.assert_clean()


def test_the_microphone_works_with_echo_cancellation(playwright: Any, url: str) -> None:
    with chromium(playwright) as browser:  # beeps: a file that plays once would be silent
        at = Visit(browser, url)
        frames = talk(at, "quick")
        at.wait_for_state("Listening")
        at.page.wait_for_timeout(1500)
        assert len(frames.of("input_audio_buffer.append")) > 20
        at.assert_clean()
