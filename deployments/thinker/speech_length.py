"""How many tokens it takes to speak a text: an estimate from its characters alone.

A second of speech is 31.25 tokens, 25 of them audio and 6.25 text. In a second quick speakers say
some 20 letters of an alphabet, 6 characters of Chinese, Japanese or Korean, or 4 digits. Slow ones
say a quarter of that.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

TOKENS_PER_S = 31.25
WIDE = frozenset("WF")  # of Unicode's East Asian widths: a character is a syllable or more


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds a character takes."""

    quickest_s: float
    slowest_s: float  # a slow voice, or a character that is read as a word


LETTER = Pace(1 / 20, 1 / 5)
SYLLABLE = Pace(1 / 6, 1 / 1.5)
DIGIT = Pace(1 / 4, 1.0)
SYMBOL = Pace(0.0, 0.5)  # silent, a pause, or a word: "&"
SPACE = Pace(1 / 20, 1 / 5)
LEAST_S = 4.0  # granted to the shortest text: silence before and after it


@dataclass(frozen=True, slots=True)
class SpeechLength:
    """Tokens that an answer needs, text tokens included."""

    least: int  # with a quick voice: a context that leaves fewer cannot hold the speech
    most: int  # more than any voice should need; an answer that is longer has lost its way


def speech_length(text: str) -> SpeechLength:
    """What it takes to speak `text`."""
    slowest_s = LEAST_S + sum(pace.slowest_s * count for pace, count in _paces(text))
    return SpeechLength(round(quickest_s(text) * TOKENS_PER_S), round(slowest_s * TOKENS_PER_S))


def quickest_s(text: str) -> float:
    """The seconds in which a quick voice says `text`."""
    return sum(pace.quickest_s * count for pace, count in _paces(text))


def _paces(text: str) -> Iterator[tuple[Pace, int]]:
    """The pace of each kind of character, and how often it stands there."""
    return ((_pace(character), count) for character, count in Counter(text).items())


@lru_cache(maxsize=8192)  # 0.05 µs, without it 0.5
def _pace(character: str) -> Pace:
    if character.isspace():
        return SPACE
    if character.isdigit():
        return DIGIT
    if not character.isalpha():
        return SYMBOL
    return SYLLABLE if unicodedata.east_asian_width(character) in WIDE else LETTER
