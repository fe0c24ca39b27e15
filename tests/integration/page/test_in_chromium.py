"""The page in Chromium: typed turns, reading aloud, transcripts, voices. Nothing speaks into it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.integration.http.helpers import MODEL
from tests.integration.page.chromium import HOST, Visit, chromium
from tests.integration.page.drivers import slow
from tests.integration.page.server import LONG, page_server

SHORT = "Hello you two"  # is answered with itself: 52 tokens, 2.1 s
ANSWER = "article.assistant"

Open = Callable[..., Visit]


def test_a_typed_turn_is_answered_heard_and_marked_word_by_word(visit: Open) -> None:
    at = visit()
    at.listen()
    at.say(SHORT)
    at.page.wait_for_selector(f"{ANSWER} .word.now")
    at.wait_for_sound()
    at.wait_until("document.querySelectorAll('.assistant .word.said').length === 3")
    at.wait_for_state("Connected")
    at.wait_for_silence()
    assert at.page.inner_text(f"{ANSWER} p") == SHORT
    assert at.page.locator(".word.now").count() == 0
    figures = at.page.inner_text(f"{ANSWER} .figures")
    assert re.fullmatch(r"first sound [\d.]+ s · RTF [\d.]+ · 2\.1 s( · \d gaps?)?", figures)


@slow
def test_escape_stops_an_answer_and_the_server_learns_what_was_heard(visit: Open) -> None:
    at = visit()
    sent: list[str] = []
    at.page.on("websocket", lambda socket: socket.on("framesent", lambda frame: sent.append(frame)))
    at.listen()
    at.say(LONG)
    at.page.wait_for_selector(f"{ANSWER} .word.now")
    at.wait_for_sound()
    at.page.wait_for_timeout(700)
    at.page.focus("#transcript")
    at.page.keyboard.press("Escape")
    at.wait_for_silence()
    at.page.wait_for_selector(f"{ANSWER}.interrupted")
    (truncate,) = [frame for frame in sent if "item.truncate" in frame]
    (heard_ms,) = re.findall(r'"audio_end_ms":(\d+)', truncate)
    assert 500 < int(heard_ms) < 5000
    said = at.page.locator(f"{ANSWER} .word.said").count()
    assert 0 < said < at.page.locator(f"{ANSWER} .word").count()
    at.page.keyboard.press("Escape")  # nothing is played: it ends the conversation
    at.wait_for_state("Ready when you are")


@slow
def test_a_typed_turn_interrupts_the_answer_before(visit: Open) -> None:
    at = visit()
    at.say(LONG)
    at.page.wait_for_selector(f"{ANSWER} .word.now")
    at.say(SHORT)
    at.page.wait_for_selector(f"{ANSWER}.interrupted")
    at.wait_until(f"document.querySelectorAll('{ANSWER}').length === 2")
    at.wait_for_state("Connected")
    assert at.page.locator(f"{ANSWER} p").last.inner_text() == SHORT


@slow
def test_an_answer_is_played_again(visit: Open) -> None:
    at = visit()
    at.say(SHORT)
    at.page.wait_for_selector(f"{ANSWER} .icons button")
    at.wait_for_state("Connected")
    at.listen()
    at.page.get_by_label("Play again").click()
    at.wait_for_sound()
    at.page.wait_for_selector(f"{ANSWER} .word.now")
    at.wait_for_silence()


@slow
def test_a_text_is_read_aloud_at_the_speed_that_was_chosen(visit: Open) -> None:
    at = visit()
    at.page.get_by_role("tab", name="Read aloud").click()
    at.page.fill("#read-text", SHORT)
    at.page.locator("#read-speed").fill("2")
    at.page.click("#read-button")
    at.page.wait_for_selector("#read-answer .icons button")
    assert re.search(r" · 1\.0 s( · |$)", at.page.inner_text("#read-answer .figures"))
    at.page.wait_for_selector("#read-button:enabled")


@slow
def test_a_recording_is_written_down_and_read_aloud(visit: Open, sample: Path) -> None:
    at = visit()
    at.page.get_by_role("tab", name="Transcribe").click()
    at.page.set_input_files("#write-file", sample)
    at.page.click("#write-button")
    at.page.wait_for_selector("#write-read:enabled")
    text = at.page.input_value("#write-text")
    assert text.startswith("heard ")
    at.page.click("#write-read")
    assert at.page.input_value("#read-text") == text
    assert at.page.get_by_role("tab", name="Read aloud").get_attribute("aria-selected") == "true"


@slow
def test_a_voice_is_made_used_and_deleted(visit: Open, sample: Path) -> None:
    at = visit()
    at.page.wait_for_selector("#voice option[value=anna]", state="attached")
    at.page.click("#voice-add")
    at.page.fill("#voice-name", "mine")
    at.page.set_input_files("#voice-file", sample)
    at.page.click("#voice-create")
    at.page.wait_for_selector("#voice-delete:visible")
    assert at.page.locator("#voice option:checked").inner_text() == "mine"
    at.page.on("dialog", lambda dialog: dialog.accept())
    at.page.click("#voice-delete")
    at.page.wait_for_selector("#voice-delete", state="hidden")
    assert "mine" not in at.page.inner_text("#voice")


@slow
def test_a_recording_that_is_no_voice_is_refused_in_the_server_s_words(visit: Open) -> None:
    at = visit()
    at.page.click("#voice-add")
    at.page.fill("#voice-name", "beeps")
    at.page.click("#voice-record")  # the fake microphone beeps once a second
    at.page.wait_for_timeout(1500)
    at.page.click("#voice-record")
    at.page.click("#voice-create")
    at.page.wait_for_selector("#voice-error:visible")
    at.errors.clear()  # Chromium notes the 400


@slow
def test_a_key_stays_out_of_every_address(visit: Open, tmp_path: Path) -> None:
    with page_server(tmp_path, api_keys=["sk-of-the-visitor"]) as url:
        at = visit(url)
        at.page.wait_for_selector("#notice:visible")
        assert "needs an API key" in at.page.inner_text("#notice")
        at.page.fill("#key", "sk-of-the-visitor")
        at.page.press("#key", "Enter")
        at.page.wait_for_selector("#notice", state="hidden")
        at.say(SHORT)
        at.page.wait_for_selector(f"{ANSWER} .word.now")
        for address in at.requests + at.sockets:
            assert "sk-of" not in address and "ek_" not in address
        assert at.page.evaluate("JSON.stringify([localStorage, sessionStorage])") == "[{},{}]"


@slow
def test_a_page_without_a_microphone_says_why_and_still_talks(playwright: Any, url: str) -> None:
    with chromium(playwright, microphone=False) as browser:
        at = Visit(browser, url)
        at.page.click("#talk-button")
        at.page.wait_for_selector("#notice:visible")
        assert re.search(r"Allow it|has no microphone", at.page.inner_text("#notice"))
        at.say(SHORT)
        at.page.wait_for_selector(f"{ANSWER} .word.now")
        at.assert_clean()


@slow
def test_a_page_of_another_host_without_https_says_what_to_do_and_still_talks(
    browser: Any, url: str
) -> None:
    at = Visit(browser, url.replace("127.0.0.1", HOST))
    assert at.page.evaluate("window.isSecureContext") is False
    at.page.click("#talk-button")
    at.page.wait_for_selector("#notice:visible")
    assert "ssh -L" in at.page.inner_text("#notice")
    at.listen()
    at.say(SHORT)
    at.page.wait_for_selector(f"{ANSWER} .word.now")
    at.wait_for_sound()
    at.wait_for_state("Connected")
    at.wait_for_silence()
    at.assert_clean()


@slow
def test_the_tabs_and_the_conversation_need_no_mouse(visit: Open) -> None:
    at = visit()
    keys = at.page.keyboard
    keys.press("Tab")
    assert at.page.evaluate("document.activeElement.id") == "talk-tab"
    keys.press("ArrowRight")
    assert at.page.is_visible("#read") and not at.page.is_visible("#talk")
    keys.press("ArrowLeft")
    keys.press("Tab")
    keys.press("Space")  # in the transcript: it talks
    at.wait_for_state("Listening")
    keys.press("Space")
    at.wait_for_state("The microphone is muted")
    keys.press("Space")
    at.wait_for_state("Listening")
    at.page.focus("#talk-button")
    keys.press("Space")
    at.wait_for_state("The microphone is muted")
    keys.press("Escape")
    at.wait_for_state("Ready when you are")


@slow
def test_the_load_of_the_server_is_shown(visit: Open) -> None:
    at = visit()
    at.wait_until("document.getElementById('load-machine').textContent !== '–'")
    assert "spoken" in at.page.inner_text("#load-answers")


def test_the_model_is_the_server_s_own(visit: Open) -> None:
    at = visit()
    at.say(SHORT)
    at.page.wait_for_selector(ANSWER)
    assert [socket.rpartition("=")[2] for socket in at.sockets] == [MODEL]
