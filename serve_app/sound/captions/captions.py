"""The captions of one spoken answer, as its text and its sound come."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deployments.thinker.speech_length import quickest_s
from serve_app.sound.captions.loudness import Loudness
from serve_app.sound.captions.matching import Matching
from serve_app.sound.captions.pauses import PauseFinder, Timeline, Times
from serve_app.sound.captions.syllables import SyllableCounter
from serve_app.sound.captions.words import Word, WordReader

HOLD_S = 2.0
"""How much sound is waited for behind a word: its time is mended by the next pause. Sound is made
faster than it plays, so a caption comes before its word is heard all the same, but for the first
words. Without waiting, times were off by half as much again."""


@dataclass(frozen=True, slots=True)
class Caption:
    """A word with the spaces before it, and when it begins: an estimate."""

    text: str
    start_s: float  # of the answer's sound; never before the caption before


class Captions:
    """Of one answer. Its text comes before its sound, or with it."""

    def __init__(self) -> None:
        self._loudness = Loudness()
        self._pauses = PauseFinder()
        self._timeline = Timeline()
        self._counter = SyllableCounter()
        self._reader = WordReader()
        self._words: list[Word] = []
        self._syllables = 0  # of the words
        self._matching = Matching()
        self._matched = 1  # pauses; the first one, before the speech, is where it begins
        self._shown = 0  # words
        self._last_s = 0.0  # when the last of these begins

    def hear(self, pcm: bytes) -> None:
        """The next sound of the answer: s16le, mono, 24 kHz, as it was made."""
        levels = self._loudness.hear(pcm)
        self._counter.hear(levels)
        for pause in self._pauses.hear(levels):
            self._timeline.add(pause)

    def read(self, text: str) -> list[Caption]:
        """The next text, which may be empty. Captions that became certain, of this or earlier text.

        The captions of all calls and of `finish`, joined, are the text.
        """
        self._take(self._reader.read(text))
        self._match(ended=False)
        starts_s = self._starts_s()
        certain_s = self._pauses.sound_end_s - HOLD_S
        count = int(np.searchsorted(starts_s[: len(self._words)], certain_s))
        return self._show(starts_s, count)

    def finish(self) -> list[Caption]:
        """The captions that are left, once all text and all sound came."""
        self._take(self._reader.finish())
        self._match(ended=True)
        self._matching.finish(self._voiced_s)
        return self._show(self._starts_s(), len(self._words))

    def heard(self, until_s: float) -> str:
        """The beginning of the text: the words that were said by then, at least half of the last.

        All text, where all was said; what is heard is never more than the sound that came.
        """
        self._match(ended=False)
        begun = self._reader.begun
        starts_s = self._starts_s(quickest_s(begun.strip()))
        middles_s = (starts_s[1:] + starts_s[:-1]) / 2
        count = int(np.searchsorted(middles_s, min(until_s, self._pauses.sound_end_s)))
        return "".join([*(word.text for word in self._words), begun][:count])

    @property
    def _voiced_s(self) -> float:
        return self._timeline.voiced_s(self._pauses.sound_end_s)

    def _take(self, words: Sequence[Word]) -> None:
        for word in words:
            self._words.append(word)
            self._syllables += word.syllables
            self._matching.add_word(word.length_s, word.pause_s)

    def _match(self, ended: bool) -> None:
        """Match pauses, as far as the words around them are known."""
        self._expect_pace()
        for pause in self._timeline.pauses[self._matched :]:
            voiced_s = self._timeline.voiced_before_s[self._matched]
            if not self._matching.add_pause(voiced_s, pause.length_s, ended):
                return
            self._matched += 1

    def _expect_pace(self) -> None:
        length_s, said = self._matching.lengths_s[-1], self._counter.count
        if said and length_s:
            pace = self._voiced_s / said * self._syllables / length_s
            self._matching.expect_pace(said, pace)

    def _starts_s(self, begun_s: float = 0.0) -> Times:
        """[W + 2]: where each word begins, one that may go on too, and where that one ends."""
        lengths_s = np.array([*self._matching.lengths_s, self._matching.lengths_s[-1] + begun_s])
        borders, voiced_s = map(np.array, zip(*self._matching.matches(), strict=True))
        said_s = np.interp(lengths_s, lengths_s[borders], voiced_s)
        behind_s = np.maximum(lengths_s - lengths_s[borders[-1]], 0.0)
        return self._timeline.times_s(said_s + behind_s * self._matching.pace)

    def _show(self, starts_s: Times, count: int) -> list[Caption]:
        """Captions of the words up to number `count` that had none."""
        captions = []
        for index in range(self._shown, count):
            self._last_s = max(self._last_s, float(starts_s[index]))
            captions.append(Caption(self._words[index].text, self._last_s))
        self._shown = max(self._shown, count)
        return captions
