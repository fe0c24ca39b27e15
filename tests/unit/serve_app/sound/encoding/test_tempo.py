"""Faster and slower speech at the same pitch, without gaps, and of the right length."""

import asyncio
import gc
import weakref
from pathlib import Path

import numpy as np
import pytest

from serve_app.sound.encoding.encoder_threads import encoding
from serve_app.sound.encoding.format_table import FORMATS
from serve_app.sound.encoding.tempo import Tempo, at_speed
from serve_app.sound.encoding.wav import wav_file
from tests.sounds import (
    EDGE,
    LEAD,
    TONE_HZ,
    assert_steady,
    assert_streamed_samples,
    decoded,
    envelope,
    pitch_hz,
    tone,
)

SPEEDS = (0.25, 0.4, 0.5, 0.8, 1.01, 1.5, 2.0, 3.3, 4.0)
FIRST, CHUNK = 4800, 24_000  # samples of the first chunk and of a later one
SECONDS = 3


def chunks(samples: int, size: int) -> list[bytes]:
    return [tone(min(size, samples - at), at) for at in range(0, samples, size)]


def changed(pieces: list[bytes], speed: float) -> np.ndarray:
    """The sound of `pieces` at `speed`. [N] float64"""
    tempo = Tempo(speed)
    sound = b"".join([*map(tempo.push, pieces), tempo.finish()])
    return np.frombuffer(sound, "<i2") / 32768


@pytest.mark.parametrize("speed", SPEEDS)
@pytest.mark.parametrize("size", [100, 4807, 24_000])
def test_a_tone_keeps_its_pitch_and_has_the_right_length_without_gap_or_click(
    speed: float, size: int
) -> None:
    sound = changed(chunks(SECONDS * 24_000, size), speed)
    assert len(sound) == round(SECONDS * 24_000 / speed)
    assert pitch_hz(sound) == pytest.approx(TONE_HZ, rel=0.002)
    end = 1200  # the last window of the filter fades
    inner = envelope(sound)[EDGE : len(sound) - EDGE - end]
    assert inner.min() >= 0.95 and inner.max() <= 1.05


@pytest.mark.parametrize("samples", [0, 1, 479, 480, 960])
def test_the_shortest_sounds_have_the_right_length_too(samples: int) -> None:
    for speed in SPEEDS:
        assert len(changed([tone(samples)], speed)) == round(samples / speed)


@pytest.mark.parametrize(("speed", "most_s"), [(0.25, 0.08), (0.8, 0.08), (2.0, 0.08), (4.0, 0.2)])
def test_no_more_is_held_back_than_the_documentation_says(speed: float, most_s: float) -> None:
    tempo, given_s = Tempo(speed), 0.0
    for number in range(1, 40):
        given_s += len(tempo.push(tone(FIRST, FIRST * number))) / 48_000 * speed
        assert given_s >= 0.2 * number - most_s - 0.001


@pytest.mark.parametrize("form", ["mp3", "opus", "aac", "flac", "wav", "pcm"])
@pytest.mark.parametrize("speed", [0.25, 0.8, 2.0, 4.0])
async def test_every_format_streams_at_every_speed(form: str, speed: float) -> None:
    samples = 2 * 24_000
    async with encoding(FORMATS[form], speed) as sound:
        first = await sound.encode(tone(FIRST))
        rest = [await sound.encode(piece) for piece in _later(samples)]
        data = b"".join([first, *rest, await sound.finish()])
    assert first or speed >= 2  # it leaves with the first chunk that fills a frame
    heard = decoded(wav_file(data) if form == "pcm" else data)
    spoken = round(samples / speed)
    assert_streamed_samples(len(heard), spoken, form)
    assert_steady(heard, spoken - 1200, LEAD.get(form, 0))


def _later(samples: int) -> list[bytes]:
    return [tone(min(CHUNK, samples - at), at) for at in range(FIRST, samples, CHUNK)]


def test_the_usual_speed_costs_nothing() -> None:
    make = FORMATS["wav"].encoder
    assert at_speed(make, 1.0) is make


async def test_raw_sound_at_another_speed_is_made_in_a_thread_and_two_answers_do_not_mix() -> None:
    async def answer(speed: float) -> bytes:
        async with encoding(FORMATS["pcm"], speed) as sound:
            pieces = [await sound.encode(piece) for piece in chunks(48_000, CHUNK)]
            return b"".join([*pieces, await sound.finish()])

    speeds = (0.5, 0.7, 1.5, 2.0)
    for speed, data in zip(speeds, await asyncio.gather(*map(answer, speeds)), strict=True):
        expected = changed(chunks(48_000, CHUNK), speed)
        assert np.array_equal(np.frombuffer(data, "<i2") / 32768, expected)


def test_a_filter_starts_no_threads() -> None:
    def threads() -> int:
        return len(list(Path("/proc/self/task").iterdir()))

    before = threads()
    tempo = Tempo(0.3)
    tempo.push(tone(CHUNK))
    assert threads() == before


def test_an_answer_that_is_over_leaves_no_filter_for_the_collector() -> None:
    gc.disable()
    try:
        tempo = Tempo(1.5)
        tempo.push(tone(CHUNK))
        graph = weakref.ref(tempo._graph)
        del tempo
        assert graph() is None
    finally:
        gc.enable()
