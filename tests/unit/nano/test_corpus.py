"""The sentences that nano learns, and how they are spoken and stored."""

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from serve_app.commands.word_error_rate import normalise
from tests.nano.corpus.espeak import HIGH, LOW, RATE_HZ, SPEAKERS, STANDARD_WPM, Espeak, EspeakError
from tests.nano.corpus.make import make_corpus
from tests.nano.corpus.sentences import (
    LONGEST_WORDS,
    SHORTEST_WORDS,
    VOCABULARY,
    held_out_sentences,
    is_held_out,
    training_sentences,
)
from tests.nano.corpus.store import Corpus


@pytest.fixture(scope="module")
def training() -> list[str]:
    return training_sentences(20_000, seed=0)


@pytest.fixture(scope="module")
def espeak() -> Iterator[Espeak]:
    try:
        yield Espeak.of_this_process()
    except EspeakError as error:
        pytest.skip(str(error))


def test_the_same_seed_gives_the_same_sentences() -> None:
    assert training_sentences(500, seed=3) == training_sentences(500, seed=3)
    assert training_sentences(500, seed=3) != training_sentences(500, seed=4)


def test_training_sentences_differ_from_one_another(training: list[str]) -> None:
    assert len({normalise(sentence) for sentence in training}) == len(training)


def test_held_out_sentences_are_never_trained_on(training: list[str]) -> None:
    trained = {normalise(sentence) for sentence in training}
    held_out = held_out_sentences(2_000, seed=0)
    assert not trained & {normalise(sentence) for sentence in held_out}
    # by construction, not by luck: the words decide, so case and punctuation cannot
    assert all(is_held_out(sentence.upper() + "!") for sentence in held_out)
    assert not any(map(is_held_out, training))


def test_sentences_have_three_to_twelve_words_and_an_end(training: list[str]) -> None:
    for sentence in [*training, *held_out_sentences()]:
        assert SHORTEST_WORDS <= len(normalise(sentence).split()) <= LONGEST_WORDS, sentence
        assert sentence[0].isupper() and sentence[-1] in ".?", sentence


def test_vocabulary_is_at_least_550_words_and_each_is_trained_on(training: list[str]) -> None:
    counts = Counter(word for sentence in training for word in normalise(sentence).split())
    assert len(VOCABULARY) >= 550
    assert set(counts) == VOCABULARY
    assert min(counts.values()) >= 10


def test_articles_agree_with_the_next_word() -> None:
    grammatical = training_sentences(5_000, seed=1, salad_share=0.0)
    pairs = {pair for sentence in grammatical for pair in pairwise(normalise(sentence).split())}
    assert ("an", "umbrella") in pairs and ("a", "umbrella") not in pairs
    assert ("a", "book") in pairs and ("an", "book") not in pairs


def test_speech_is_trimmed_and_levelled(espeak: Espeak) -> None:
    for speaker in SPEAKERS:
        samples = espeak.speak("The cat sleeps.", speaker.voice, STANDARD_WPM, speaker.pitch)
        rms, peak = float(np.sqrt(np.mean(samples**2))), float(np.abs(samples).max())
        assert 0.07 < rms < 0.101 and peak < 0.9, speaker
        loud = np.flatnonzero(np.abs(samples) > 0.01 * peak) / RATE_HZ
        assert loud[0] == pytest.approx(0.06, abs=1e-3), speaker
        assert len(samples) / RATE_HZ - loud[-1] == pytest.approx(0.06, abs=1e-3), speaker


def test_low_and_high_voice_are_an_octave_apart(espeak: Espeak) -> None:
    low, high = (
        _pitch_hz(espeak.speak("We all know a long way home.", s.voice, STANDARD_WPM, s.pitch))
        for s in (SPEAKERS[LOW], SPEAKERS[HIGH])
    )
    assert 80 < low < 105
    assert 190 < high < 245


def test_speakers_say_a_sentence_in_nearly_the_same_time(espeak: Espeak) -> None:
    text = "The old farmer walked slowly to the river yesterday morning."
    seconds = [len(espeak.speak(text, s.voice, STANDARD_WPM, s.pitch)) / RATE_HZ for s in SPEAKERS]
    assert max(seconds) / min(seconds) < 1.06


def test_an_unknown_voice_is_refused(espeak: Espeak) -> None:
    with pytest.raises(EspeakError, match="nobody"):
        espeak.speak("Hello.", "nobody", STANDARD_WPM, 50)


@pytest.mark.usefixtures("espeak")
def test_corpus_is_read_back_as_it_was_spoken(tmp_path: Path) -> None:
    sentences = training_sentences(4, seed=0)
    make_corpus(tmp_path, sentences, seed=0, processes=1)
    corpus = Corpus.open(tmp_path)

    assert corpus.sentences == sentences
    assert [u.sentence for u in corpus.utterances] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert [u.kind for u in corpus.utterances] == ["standard", "standard", "free"] * 4
    for first, second in zip(corpus.utterances[::3], corpus.utterances[1::3], strict=True):
        assert first.speaker != second.speaker
        assert first.rate_wpm == second.rate_wpm == STANDARD_WPM

    assert corpus.speech_starts[-1] == len(corpus.speech)
    assert corpus.sound_starts[-1] == len(corpus.sound)
    speech_s = np.diff(corpus.speech_starts) / 16_000
    np.testing.assert_allclose(np.diff(corpus.sound_starts) / 24_000, speech_s, atol=1e-3)
    assert speech_s.min() > 0.4 and speech_s.max() < 8


@pytest.mark.usefixtures("espeak")
def test_corpus_does_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    sentences = training_sentences(102, seed=0)  # more than a process takes at a time
    make_corpus(tmp_path / "one", sentences, seed=0, processes=1)
    make_corpus(tmp_path / "two", sentences, seed=0, processes=2)
    one, two = Corpus.open(tmp_path / "one"), Corpus.open(tmp_path / "two")
    assert one.utterances == two.utterances
    np.testing.assert_array_equal(one.speech, two.speech)
    np.testing.assert_array_equal(one.sound, two.sound)


def _pitch_hz(samples: np.ndarray) -> float:
    """Median over frames of 80 ms of the strongest lag of the autocorrelation, 60 … 350 Hz."""
    frame = round(0.08 * RATE_HZ)
    lags = np.arange(RATE_HZ // 350, RATE_HZ // 60)
    pitches = []
    for part in samples[: len(samples) // frame * frame].reshape(-1, frame):
        if np.mean(part**2) < 0.005:
            continue  # quiet or unvoiced
        likeness = [
            part[lag:] @ part[:-lag] / np.sqrt((part[lag:] ** 2).sum() * (part[:-lag] ** 2).sum())
            for lag in lags
        ]
        # the shortest of the lags that are about as good: twice a period fits as well as one
        pitches.append(RATE_HZ / lags[np.flatnonzero(likeness > 0.9 * np.max(likeness))[0]])
    return float(np.median(pitches))
