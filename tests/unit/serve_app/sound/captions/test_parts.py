"""What captions are made of: pauses, syllables, words."""

import numpy as np
import pytest

from serve_app.sound.captions.loudness import HOP_SAMPLES, Loudness
from serve_app.sound.captions.pauses import Pause, PauseFinder, Timeline
from serve_app.sound.captions.syllables import SyllableCounter, syllables_of
from serve_app.sound.captions.words import WordReader


def hops(pattern: str) -> np.ndarray:
    """`#` is a hop of speech, `.` one of quiet, `-` is 34 dB and `_` 36 dB below the speech."""
    levels = {"#": 0.3, "-": 0.3 * 10 ** (-34 / 20), "_": 0.3 * 10 ** (-36 / 20), ".": 0.0}
    return np.array([levels[character] for character in pattern], np.float32)


def pauses(pattern: str) -> list[tuple[int, int]]:
    """In hops."""
    found = PauseFinder().hear(hops(pattern))
    return [(round(100 * pause.start_s), round(100 * pause.end_s)) for pause in found]


def test_the_first_pause_ends_where_the_speech_begins():
    assert pauses("#####") == [(0, 0)]
    assert pauses("...####") == [(0, 3)]
    assert pauses("......") == []


def test_a_quiet_of_100_ms_is_a_pause_and_a_shorter_one_is_none():
    assert pauses("####" + 10 * "." + "####") == [(0, 0), (4, 14)]
    assert pauses("####" + 9 * "." + "####") == [(0, 0)]


def test_soft_sounds_are_speech_and_softer_ones_are_quiet():
    assert pauses("####" + 10 * "-" + "####") == [(0, 0)]
    assert pauses("####" + 10 * "_" + "####") == [(0, 0), (4, 14)]


def test_a_click_ends_no_pause():
    assert pauses("####" + 8 * "." + "##" + 8 * "." + "####") == [(0, 0), (4, 22)]
    assert pauses("####" + 10 * "." + "###" + 10 * "." + "###") == [(0, 0), (4, 14), (17, 27)]


def test_a_sound_ends_where_the_quiet_behind_it_begins():
    finder = PauseFinder()
    finder.hear(hops("..####"))
    assert finder.sound_end_s == pytest.approx(0.06)
    finder.hear(hops("...."))
    assert finder.sound_end_s == pytest.approx(0.06)


@pytest.mark.parametrize("size", [7, 479, 480, 481, 5000])
def test_the_sizes_of_the_pieces_do_not_matter(size):
    pcm = np.random.default_rng(0).integers(-9000, 9000, 4000, dtype="<i2").tobytes()
    loudness = Loudness()
    pieces = [loudness.hear(pcm[start : start + size]) for start in range(0, len(pcm), size)]
    assert np.array_equal(np.concatenate(pieces), Loudness().hear(pcm))
    assert len(np.concatenate(pieces)) == 4000 // HOP_SAMPLES


def test_speech_behind_a_pause_is_on_the_clock_behind_it():
    timeline = Timeline()
    for pause in (Pause(0.0, 0.5), Pause(1.5, 2.0)):
        timeline.add(pause)
    assert timeline.voiced_before_s == [0.0, 1.0]
    assert timeline.voiced_s(3.0) == 2.0
    times_s = timeline.times_s(np.array([0.0, 0.9, 1.0, 1.5]))
    assert times_s == pytest.approx([0.5, 1.4, 2.0, 2.5])


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("strength", 1),
        ("banana", 3),
        (" notes,", 1),
        ("make", 1),
        ("the table", 3),
        ("it is open", 4),
        ("Größe", 2),
        ("你好。", 2),
        ("1984", 4),
        ("— …", 0),
        ("", 0),
    ],
)
def test_syllables_of_a_text_are_counted_by_its_vowels(text, count):
    assert syllables_of(text) == count


@pytest.mark.parametrize("a_second", [3, 5, 7])
def test_syllables_of_a_sound_are_counted_by_its_loudness(a_second):
    times_s = np.arange(0, 10, 0.01)
    levels = (0.2 + 0.18 * np.sin(2 * np.pi * a_second * times_s)).astype(np.float32)
    counter = SyllableCounter()
    for start in range(0, len(levels), 33):
        counter.hear(levels[start : start + 33])
    assert counter.count == pytest.approx(10 * a_second, rel=0.05)


def words(text: str, step: int) -> list[tuple[str, float]]:
    reader = WordReader()
    found = []
    for start in range(0, len(text), step):
        found += reader.read(text[start : start + step])
    return [(word.text, word.pause_s) for word in [*found, *reader.finish()]]


@pytest.mark.parametrize("step", [1, 2, 5, 100])
def test_a_text_is_cut_into_words_with_what_its_signs_ask_for(step):
    text = 'Hello, my  friend. "Is it you?"\n\nYes: 3.5 m'
    assert words(text, step) == [
        ("Hello,", 0.0),
        (" my", 0.15),
        ("  friend.", 0.0),
        (' "Is', 0.4),
        (" it", 0.0),
        (' you?"', 0.0),
        ("\n\nYes:", 0.7),
        (" 3.5", 0.25),
        (" m", 0.0),
    ]


@pytest.mark.parametrize("step", [1, 2, 100])
def test_characters_of_scripts_without_spaces_are_words(step):
    found = words("你好，AI助手。 今天!", step)
    assert [text for text, _ in found] == ["你", "好，", "AI", "助", "手。", " 今", "天!"]
    assert [pause_s for _, pause_s in found] == [0.0, 0.0, 0.15, 0.0, 0.0, 0.4, 0.0]
