"""Texts of consecutive pieces -> one transcript."""

import re

# Han, kana, and the punctuation and wide letters that go with them: no spaces stand among these.
_UNSPACED = re.compile(r"[\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef]")


class Joiner:
    """Gives each text the space that belongs before it."""

    def __init__(self) -> None:
        self._last = ""  # the character before

    def add(self, text: str) -> str:
        """The next text as it continues the transcript; "" if it says nothing."""
        text = text.strip()
        if not text:
            return ""
        space = " " if self._last and not _unspaced(self._last, text[0]) else ""
        self._last = text[-1]
        return space + text


def _unspaced(before: str, after: str) -> bool:
    return bool(_UNSPACED.match(before) or _UNSPACED.match(after))
