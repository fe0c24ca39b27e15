"""A text that comes in pieces → its words, and how long each takes about."""

from dataclasses import dataclass

import regex

from deployments.thinker.speech_length import quickest_s
from serve_app.sound.captions.syllables import syllables_of
from serve_app.sound.text_passages import ENDING, pause_after_s

# Scripts without spaces have a word a character; signs belong to the character before.
_WIDE = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
_WORD = regex.compile(rf"(?V1)\s*(?:{_WIDE}[^\s\p{{L}}\p{{N}}]*|[[^\s]--{_WIDE}]+|\Z)")


@dataclass(frozen=True, slots=True)
class Word:
    """A word with the spaces before it, and the signs at it."""

    text: str
    length_s: float  # as a quick voice says it
    syllables: int
    pause_s: float  # that the text before it asks for


class WordReader:
    """Cuts one text into words. What was read last may go on, and is not yet a word."""

    def __init__(self) -> None:
        self.begun = ""  # the word that may go on
        self._before = ""

    def read(self, text: str) -> list[Word]:
        """The words that the next piece of the text completes."""
        found = [match.group() for match in _WORD.finditer(self.begun + text)]
        found = [word for word in found if word]
        self.begun = found.pop() if found else ""
        return [self._word(word) for word in found]

    def finish(self) -> list[Word]:
        """The last word."""
        last, self.begun = self.begun, ""
        return [self._word(last)] if last else []

    def _word(self, text: str) -> Word:
        spaces = text[: len(text) - len(text.lstrip())]
        pause_s = pause_after_s(self._before + spaces)
        self._before = (self._before + text)[-ENDING:]
        return Word(text, quickest_s(text.strip()), syllables_of(text), pause_s)
