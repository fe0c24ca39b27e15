"""A long text in passages, each of a length that a model speaks well in one go."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import regex
from sentencex import segment

from deployments.thinker.speech_length import quickest_s

SIGN_S = 1 / 20  # a character takes a letter's time at least, so that signs alone are limited too
LITTLE = 1 / 4  # of a usual passage: less than that does not stand alone at the end

# The quiet that a passage's end asks for. Readers pause about so long; a model often less.
PARAGRAPH_S, SENTENCE_S, CLAUSE_S, COMMA_S = 0.7, 0.4, 0.25, 0.15
ENDING = 16  # characters, which hold a stop, quotes, brackets and an empty line
_CLOSING = r"[\p{Pe}\p{Pf}\"'”’」』*_]*\s*\Z"
_PAUSES = tuple(
    (regex.compile(pattern), pause_s)
    for pattern, pause_s in (
        (r"\n\s*\n\s*\Z", PARAGRAPH_S),
        (rf"[.!?…。！？｡。؟।॥]{_CLOSING}", SENTENCE_S),
        (r"\n\s*\Z", SENTENCE_S),
        (rf"[;:；：؛—–]{_CLOSING}", CLAUSE_S),
        (rf"[,，、､،]{_CLOSING}", COMMA_S),
    )
)
_CLAUSE = regex.compile(r"(?<=[;:؛—–…]\s+|[；：]|\n)(?=\S)")
_PHRASE = regex.compile(r"(?<=[,،]\s+|[，、､])(?=\S)")
_WORD = regex.compile(r"(?<=\s)(?=\S)")
_CHARACTER = regex.compile(r"\X")  # with all the marks that it has


@dataclass(frozen=True, slots=True)
class Passage:
    """A part of a text, and the quiet after it."""

    text: str
    pause_s: float


def passages(text: str, limit_s: float) -> list[Passage]:
    """`text` in passages which a quick voice says in `limit_s` seconds at most; one if it can be.

    A text that is longer is cut into passages of about half that: sentences are packed up to it,
    and a sentence is cut, between clauses or words, only if it alone takes more than `limit_s`.
    Nothing is lost but what has neither letters nor digits.
    """
    if _seconds(text) <= limit_s:
        return [Passage(text, 0.0)]
    units = _units(text, limit_s, CUTS)
    return [Passage(part.strip(), pause_after_s(part)) for part in _packed(units, limit_s)]


def _units(text: str, limit_s: float, cuts: "Sequence[Cut]") -> Iterator[str]:
    """What may be packed: the largest units that fit, by the first of `cuts` that makes them."""
    first, *finer = cuts
    for unit in first(text):
        if finer and _seconds(unit) > limit_s:
            yield from _units(unit, limit_s, finer)
        else:
            yield unit


def _packed(units: Iterable[str], limit_s: float) -> list[str]:
    """Neighbouring units as parts of half of `limit_s`; a single unit may take all of it."""
    usual_s = limit_s / 2
    parts: list[str] = []
    lengths_s: list[float] = []
    for unit in units:
        takes_s = _seconds(unit)
        if parts and lengths_s[-1] + takes_s <= usual_s:
            parts[-1] += unit
            lengths_s[-1] += takes_s
        elif can_be_spoken(unit):
            parts.append(unit)
            lengths_s.append(takes_s)
    if len(parts) > 1 and lengths_s[-1] < LITTLE * usual_s and sum(lengths_s[-2:]) <= limit_s:
        parts[-2:] = [parts[-2] + parts[-1]]
    return parts


def _sentences(text: str) -> Iterable[str]:
    # English has the most abbreviations that end no sentence; the stops of all scripts are known.
    return segment("en", text)


def _cut(text: str, between: "regex.Pattern[str]") -> Iterator[str]:
    cuts = (found.start() for found in between.finditer(text))
    return (text[begin:end] for begin, end in pairwise((0, *cuts, len(text))) if begin < end)


Cut = Callable[[str], Iterable[str]]
CUTS: Sequence[Cut] = (
    _sentences,
    partial(_cut, between=_CLAUSE),
    partial(_cut, between=_PHRASE),
    partial(_cut, between=_WORD),
    _CHARACTER.findall,
)


def _seconds(text: str) -> float:
    return max(quickest_s(text), len(text) * SIGN_S)


def can_be_spoken(text: str) -> bool:
    """Whether `text` has a letter or a digit."""
    return any(character.isalnum() for character in text)


def pause_after_s(part: str) -> float:
    """The quiet that the end of `part` asks for, in seconds."""
    ending = part[-ENDING:]
    return next((pause_s for ends, pause_s in _PAUSES if ends.search(ending)), 0.0)
