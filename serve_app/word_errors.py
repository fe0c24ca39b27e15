"""Word error rate: Levenshtein's distance in words, over the words that should have come."""

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SentenceErrors:
    """One sentence of the listing, both sides normalised."""

    reference: str
    hypothesis: str
    errors: int  # words substituted, deleted and inserted
    words: int  # of the reference


def normalise(text: str) -> str:
    """What is compared: lower case, single spaces, no punctuation."""
    return " ".join(re.sub(r"[^\w\s]|_", " ", text.lower()).split())


def sentence_errors(reference: str, hypothesis: str) -> SentenceErrors:
    """The errors of one sentence; case and punctuation do not count."""
    said, heard = normalise(reference), normalise(hypothesis)
    return SentenceErrors(
        said, heard, edit_distance(said.split(), heard.split()), len(said.split())
    )


def word_error_rate(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """All errors over all words of the references: 0 is perfect, above 1 is possible.

    Raises:
        ValueError: the two differ in length, or the references hold no word.
    """
    return total_rate(listing(references, hypotheses))


def listing(references: Sequence[str], hypotheses: Sequence[str]) -> list[SentenceErrors]:
    """The errors sentence by sentence."""
    return [sentence_errors(r, h) for r, h in zip(references, hypotheses, strict=True)]


def total_rate(sentences: Sequence[SentenceErrors]) -> float:
    """The word error rate of a listing."""
    words = sum(sentence.words for sentence in sentences)
    if not words:
        raise ValueError("the references hold no word")
    return sum(sentence.errors for sentence in sentences) / words


def edit_distance(one: Sequence[object], other: Sequence[object]) -> int:
    """The fewest insertions, deletions and exchanges that make one out of the other."""
    above = list(range(len(other) + 1))  # from nothing to each beginning of the other
    for deleted, mine in enumerate(one, start=1):
        row = [deleted]
        for column, theirs in enumerate(other):
            exchanged = above[column] + (mine != theirs)
            row.append(min(exchanged, above[column + 1] + 1, row[-1] + 1))
        above = row
    return above[-1]
