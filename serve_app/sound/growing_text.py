"""A text that is still being written, of which whole sentences are taken."""

from collections.abc import Iterator

import regex
from sentencex import segment

from serve_app.sound.spoken_text import spoken_text
from serve_app.sound.text_passages import can_be_spoken, passages

# Only behind one of these can a sentence have ended; to look for its end takes much longer.
_MAY_END = regex.compile(r"[.!?…。！？｡؟।॥\n]\P{Alnum}*.", regex.DOTALL)

_CLOSING_MARKS = regex.compile(r"[*_~`]+(?=\s)")
_ITEM = regex.compile(r"(?:\A|\n)\s*\d+[.)]\s*\Z")  # the number of one; its text follows

# Marks whose partner stands in another sentence. Single ones may mean something else: 2 * 3.
_UNPAIRED = regex.compile(r"(?<!\w)(?:\*{2,3}|_{2,3}|~~)|(?:\*{2,3}|_{2,3}|~~)(?!\w)")


class GrowingText:
    """Takes a text in pieces of any length and gives back what of it is complete.

    A sentence is complete when another one begins behind it: until then its stop may be that of a
    number or of an abbreviation. A sentence that is too long to be spoken in one go is given back
    in parts.
    """

    def __init__(self, limit_s: float) -> None:
        """
        Args:
            limit_s: how long a quick voice may take for what the model speaks in one go.
        """
        self._limit_s = limit_s
        self._left = ""

    @property
    def left(self) -> str:
        """What was written and not taken."""
        return self._left

    def write(self, text: str) -> None:
        """Add `text` at the end."""
        self._left += text

    def take(self) -> str:
        """All complete sentences; perhaps none, as an empty text."""
        return self._cut(self._complete())

    def rest(self) -> str:
        """Everything: nothing more will be written."""
        return self._cut(len(self._left))

    def _cut(self, at: int) -> str:
        taken, self._left = self._left[:at], self._left[at:]
        return taken

    def _complete(self) -> int:
        """How many characters of what is left are complete."""
        ends = self._ends() if _MAY_END.search(self._left) else ()
        return max(ends, default=0) or self._beginning_of_a_long_sentence()

    def _ends(self) -> Iterator[int]:
        """Where sentences end that have another one behind them."""
        passed = 0
        for sentence in segment("en", self._left):
            passed += len(sentence)
            marks = _CLOSING_MARKS.match(self._left, passed)
            end = marks.end() if marks else passed
            if can_be_spoken(self._left[end:]) and not _ITEM.search(sentence):
                yield end

    def _beginning_of_a_long_sentence(self) -> int:
        parts = passages(self._left, self._limit_s)
        if len(parts) < 2:
            return 0
        return self._left.rindex(parts[-1].text)


def spoken_sentences(text: str) -> str:
    """Whole sentences as they are to be spoken, even those of a longer emphasis."""
    return _UNPAIRED.sub("", spoken_text(text))
