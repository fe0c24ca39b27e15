"""OpenAI's own clients, in Python and in JavaScript: every call, sync, async and streamed.

Python's is the one of these tests' environment where it has none of its own.
"""

import sys
from pathlib import Path

import pytest

from tests.clients.runs import (
    SCRIPTS,
    TEXT,
    TOKENS,
    Run,
    node_modules,
    python_of,
    run,
)
from tests.clients.server import MODEL
from tests.sounds import assert_streamed_length

FORMATS = ("mp3", "opus", "aac", "flac", "wav", "pcm")
HEARD = "heard 6.15 s"  # what the fake engine writes down of the sample
CLIENTS = ("python", "javascript", "javascript for Node 20")
ERRORS = {
    "no such model": ("NotFoundError", "model_not_found"),
    "too long": ("BadRequestError", "invalid_value"),
    "no such voice": ("BadRequestError", "voice_not_found"),
    "wrong key": ("AuthenticationError", "invalid_api_key"),
    "over its limit": ("RateLimitError", "rate_limit_exceeded"),
    "no recording": ("BadRequestError", "audio_unreadable"),
    "no words": ("BadRequestError", "unsupported"),
    "chat breaks off": ("APIError", "engine_failed"),
    "whole chat fails": ("InternalServerError", "engine_failed"),
}
BROKEN = ("APIConnectionError", "TypeError")  # Python's; JavaScript's of `fetch`


@pytest.fixture(scope="module", params=CLIENTS)
def ran(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("client")
    return run(command_of(request.param, folder), folder)


def command_of(client: str, folder: Path) -> list[str | Path]:
    if client == "python":
        python = python_of("openai_python", otherwise=Path(sys.executable))
        return [python, "-W", "always", SCRIPTS / "openai_python" / "calls.py"]
    node_modules(folder)
    script = folder / "calls.mjs"
    script.write_text((SCRIPTS / "openai_javascript" / "calls.mjs").read_text())
    package = "openai" if client == "javascript" else "openai-for-node-20"
    return ["node", script, package]


def test_no_call_warns_and_none_is_tried_again(ran: Run) -> None:
    assert ran.said == ""
    assert not [request for request in ran.requests if request.retries]


def test_the_models_are_listed_and_a_default_name_is_found(ran: Run) -> None:
    assert ran.heard["models"] == [MODEL]
    assert ran.heard["model"] == "gpt-4o-mini-tts"


@pytest.mark.parametrize("form", FORMATS)
def test_speech_lasts_as_long_as_its_tokens_in_every_format(ran: Run, form: str) -> None:
    for how in ("streamed", "sse"):
        assert_streamed_length(ran.samples(f"{how}.{form}"), TOKENS, form)
    done = ran.heard[f"done of {form}"]
    assert (done["type"], done["usage"]["output_tokens"]) == ("speech.audio.done", TOKENS)


def test_speech_without_a_format_is_mp3(ran: Run) -> None:
    assert_streamed_length(ran.samples("whole.mp3"), TOKENS, "mp3")


def test_speech_at_twice_the_speed_lasts_half_as_long(ran: Run) -> None:
    assert ran.samples("quick.wav") == 960 * TOKENS // 2


def test_a_transcript_comes_in_every_format(ran: Run) -> None:
    heard = ran.heard
    assert heard["json"] == heard["text"] == heard["translation"] == HEARD
    assert heard["srt"].startswith("1\n00:00:0") and "heard" in heard["srt"]
    assert heard["vtt"].startswith("WEBVTT\n\n00:0") and "heard" in heard["vtt"]
    for verbose, language in (("verbose_json", "en"), ("verbose translation", "english")):
        assert heard[verbose]["language"] == language
        assert heard[verbose]["duration"] == pytest.approx(6.15, abs=0.01)
        assert heard[verbose]["segments"][0]["text"].strip() in heard[verbose]["text"]
    assert "heard" in heard["cut"]


def test_a_streamed_transcript_joins_to_the_whole(ran: Run) -> None:
    *deltas, done = ran.heard["events"]
    assert "".join(delta["delta"] for delta in deltas) == done["text"] == HEARD
    assert done["usage"]["type"] == "tokens"


@pytest.mark.parametrize("ran", CLIENTS[:2], indirect=True)
def test_an_uploaded_voice_speaks_by_name_and_by_id_and_is_deleted(ran: Run) -> None:
    assert ran.heard["voice"]["object"] == "audio.voice"
    for by in ("name", "id"):
        assert ran.samples(f"voice-by-{by}.wav") == 960 * TOKENS
    assert ran.heard["deleted"]["deleted"] is True


def test_a_chat_answers_in_text_and_in_sound_whole_and_streamed(ran: Run) -> None:
    for answer in (
        "chat",
        "streamed chat",
        "transcript of a chat",
        "transcript of a streamed chat",
    ):
        assert ran.heard[answer] == TEXT
    assert ran.heard["usage of a streamed chat"]["completion_tokens"] == len(TEXT)
    assert ran.samples("chat.wav") == ran.samples("chat.pcm") == 960 * TOKENS


def test_a_chat_goes_on_after_a_spoken_turn(ran: Run) -> None:
    assert ran.heard["answers to turns"] == [f"{HEARD} And?"] * 2


def test_tools_are_called_whole_and_streamed_and_their_results_are_read(ran: Run) -> None:
    assert ran.heard["tool"] == ["tool_calls", "get_weather"]
    assert ran.heard["streamed tool"] == ["get_weather"]
    assert ran.heard["answer to a result"] == "rain"
    assert ran.heard["json of a chat"] == {"said": TEXT}


@pytest.mark.parametrize("fault", ERRORS)
def test_a_fault_is_the_client_s_own_exception(ran: Run, fault: str) -> None:
    assert tuple(ran.heard[fault]) == ERRORS[fault]


@pytest.mark.parametrize("fault", ["breaks off", "breaks off as events"])
def test_speech_that_breaks_off_is_never_a_short_answer(ran: Run, fault: str) -> None:
    assert ran.heard[fault] is not None
    assert ran.heard[fault][0] in BROKEN


@pytest.mark.parametrize("ran", CLIENTS[:1], indirect=True)
def test_python_s_asynchronous_client_hears_the_same(ran: Run) -> None:
    assert ran.heard["async json"] == ran.heard["async deltas"] == HEARD
    assert ran.heard["async chat"] == TEXT
    assert ran.heard["async models"] == [MODEL]
    assert ran.samples("async-streamed.pcm") == 960 * TOKENS
    assert_streamed_length(ran.samples("async-whole.mp3"), TOKENS, "mp3")
