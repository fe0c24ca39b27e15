"""How many tokens it takes to speak a text: an estimate from its characters alone.

A second of speech is 31.25 tokens, 25 of them audio and 6.25 text. Speakers say some 15 letters of
an alphabet a second, 4 to 5 characters of Chinese, Japanese or Korean, and 3 digits.
"""

import unicodedata
from dataclasses import dataclass

TOKENS_PER_S = 31.25
WIDE = frozenset("WF")  # of Unicode's East Asian widths: a character is a syllable or more


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds a character takes."""

    usual_s: float
    slowest_s: float  # a slow voice, or a character that is read as a word


LETTER = Pace(1 / 15, 1 / 5)
SYLLABLE = Pace(1 / 4.5, 1 / 1.5)
DIGIT = Pace(1 / 3, 1.0)
SYMBOL = Pace(0.0, 0.5)  # silent, a pause, or a word: "&"
SPACE = Pace(1 / 15, 1 / 5)
LEAST_S = 4.0  # granted to the shortest text: silence before and after it


@dataclass(frozen=True, slots=True)
class SpeechLength:
    """Tokens that an answer needs, text tokens included."""

    usual: int
    most: int  # more than any voice should need; an answer that is longer has lost its way


def speech_length(text: str) -> SpeechLength:
    """What it takes to speak `text`."""
    paces = [_pace(character) for character in text]
    usual_s = sum(pace.usual_s for pace in paces)
    slowest_s = LEAST_S + sum(pace.slowest_s for pace in paces)
    return SpeechLength(round(usual_s * TOKENS_PER_S), round(slowest_s * TOKENS_PER_S))


def _pace(character: str) -> Pace:
    if character.isspace():
        return SPACE
    if character.isdigit():
        return DIGIT
    if not character.isalpha():
        return SYMBOL
    return SYLLABLE if unicodedata.east_asian_width(character) in WIDE else LETTER
