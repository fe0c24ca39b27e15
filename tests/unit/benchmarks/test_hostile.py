"""Hostile recordings beside honest clients, against servers that do as a test says."""

import asyncio
import base64
import io
from collections.abc import Callable

import httpx
import numpy as np
import pytest
import soundfile

from deployments.audio_decoding import decode_audio
from deployments.errors import AudioUnreadable
from tests.benchmarks.hostile_clients import (
    HONEST_KINDS,
    HonestSound,
    Server,
    sound_problem,
    text_problem,
)
from tests.benchmarks.hostile_sounds import REFUSED, HostileSound, hostile_sounds
from tests.benchmarks.run_hostile import Load, measure, report

SENTENCE = "Please open the window."
HONEST = b"an honest recording"
SOUNDS = hostile_sounds()
ANSWERS_AFTER_S = 0.01
Behaviour = Callable[[str, bool], httpx.Response]  # path, whether hostile -> the answer


def wav(samples: np.ndarray, rate_hz: int = 24_000) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format="WAV", subtype="FLOAT")
    return file.getvalue()


def answer(path: str, text: str = SENTENCE) -> httpx.Response:
    if path == "/health":
        return httpx.Response(200)
    if path.endswith("transcriptions"):
        return httpx.Response(200, json={"text": text})
    sound = base64.b64encode(wav(np.full(2400, 0.5))).decode()
    message = {"content": text, "audio": {"transcript": text, "data": sound}}
    return httpx.Response(200, json={"choices": [{"message": message}]})


def refuse(path: str, hostile: bool) -> httpx.Response:
    return httpx.Response(400) if hostile else answer(path)


def transport(behave: Behaviour) -> httpx.MockTransport:
    hostile = [sound.wav for sound in SOUNDS if sound.allowed == REFUSED]
    encoded = [base64.b64encode(data) for data in hostile]

    async def handle(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(ANSWERS_AFTER_S)
        body = request.content
        return behave(request.url.path, any(data in body for data in [*hostile, *encoded]))

    return httpx.MockTransport(handle)


async def document(behave: Behaviour, seconds: float = 0.4) -> dict:
    load = Load([HonestSound(HONEST, SENTENCE)], HONEST_KINDS, 4, SOUNDS, 2, seconds)
    server = Server("http://server", "model")
    return report(await measure(server, load, transport(behave)), SOUNDS)


async def test_a_server_that_refuses_every_hostile_recording_passes():
    result = await document(refuse, seconds=2.0)  # enough for every sound on a busy machine
    assert result["passed"], result["failures"]
    assert [row["word_error_rate"] for row in result["phases"]] == [0.0, 0.0, 0.0]
    assert set(result["phases"][1]["hostile"]) == {s.name for s in SOUNDS}


async def test_a_server_that_answers_a_hostile_recording_fails():
    result = await document(lambda path, hostile: answer(path))
    assert not result["passed"]
    assert result["phases"][1]["hostile_wrongly_answered"]


@pytest.mark.parametrize("nonsense", ["", "!!!!", "! ! !"])
async def test_a_server_whose_honest_answers_turn_to_nonsense_fails(nonsense):
    spoilt = False

    def behave(path: str, hostile: bool) -> httpx.Response:
        nonlocal spoilt
        spoilt |= hostile
        return refuse(path, hostile) if hostile or not spoilt else answer(path, nonsense)

    result = await document(behave)
    assert not result["phases"][0]["nonsense"]
    assert result["phases"][2]["nonsense"]
    assert not result["passed"]


async def test_a_server_that_mishears_beside_hostile_ones_fails():
    spoilt = False

    def behave(path: str, hostile: bool) -> httpx.Response:
        nonlocal spoilt
        spoilt |= hostile
        text = "Please open a door." if spoilt else SENTENCE
        return refuse(path, hostile) if hostile else answer(path, text)

    result = await document(behave)
    assert any("word errors" in failure for failure in result["failures"])


async def test_a_server_that_fails_or_is_not_healthy_fails():
    def behave(path: str, hostile: bool) -> httpx.Response:
        return httpx.Response(500) if path == "/health" else refuse(path, hostile)

    result = await document(behave)
    assert any("/health" in failure for failure in result["failures"])


@pytest.mark.parametrize("text", ["Yes.", "a", "1 1 2"])
def test_an_answer_that_says_something_is_no_nonsense(text):
    assert text_problem(text) is None


def test_sound_that_is_silent_or_of_another_length_is_nonsense():
    tone = np.sin(np.arange(24_000))
    assert sound_problem(wav(tone), None) is None
    assert sound_problem(wav(tone), 1.0) is None
    assert sound_problem(wav(tone), 1.1)
    assert sound_problem(wav(np.zeros(24_000)), None)
    assert sound_problem(wav(np.full(10, np.nan)), None)
    assert sound_problem(wav(tone[:0]), None)


@pytest.mark.parametrize("sound", SOUNDS, ids=lambda sound: sound.name)
def test_a_hostile_recording_is_a_sound_file_of_such_samples(sound: HostileSound):
    samples, _ = soundfile.read(io.BytesIO(sound.wav), dtype="float64", always_2d=True)
    assert len(samples) > 8000
    loud = not np.isfinite(samples).all() or np.abs(samples).max() > 1e6
    assert loud == (sound.allowed == REFUSED)


def test_samples_that_are_no_numbers_are_refused_by_the_decoder():
    (sound,) = (one for one in SOUNDS if one.name == "one NaN")
    with pytest.raises(AudioUnreadable):
        decode_audio(sound.wav)
