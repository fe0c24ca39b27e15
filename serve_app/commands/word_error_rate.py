"""Word error rate: Levenshtein's distance in words, over the words that should have come."""

import re
from collections.abc import Sequence


def normalise(text: str) -> str:
    """What is compared: lower case, single spaces, no punctuation."""
    return " ".join(re.sub(r"[^\w\s]|_", " ", text.lower()).split())


def word_error_rate(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """All errors over all words of the references: 0 is perfect, above 1 is possible.

    An error is a word substituted, deleted or inserted; case and punctuation do not count.

    Raises:
        ValueError: the two differ in length, or the references hold no word.
    """
    errors = words = 0
    for reference, hypothesis in zip(references, hypotheses, strict=True):
        said, heard = normalise(reference).split(), normalise(hypothesis).split()
        errors += edit_distance(said, heard)
        words += len(said)
    if not words:
        raise ValueError("the references hold no word")
    return errors / words


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
