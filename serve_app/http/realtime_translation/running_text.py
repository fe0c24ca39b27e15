"""Phrases of a running text, which clients put together without spaces of their own."""

import regex

_UNSPACED = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}，。！？；：、…]")


class RunningText:
    """What was sent of one transcript, as far as its next piece depends on it."""

    def __init__(self) -> None:
        self._last = ""  # character of what was sent
        self._begins = True  # a phrase

    def begin_phrase(self) -> None:
        self._begins = True

    def next(self, text: str) -> str:
        """What to send of the next piece of a phrase: between two phrases stands a space.

        Chinese and Japanese have none.
        """
        if self._begins:
            text = text.lstrip()
        if not text:
            return ""
        is_joint = self._begins and self._last and not self._last.isspace()
        needs_space = is_joint and not _UNSPACED.match(self._last) and not _UNSPACED.match(text)
        self._begins, self._last = False, text[-1]
        return " " + text if needs_space else text
