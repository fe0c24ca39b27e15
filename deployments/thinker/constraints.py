"""What an answer may be where its caller says so, and how such an answer is read.

vLLM masks every token that would leave the constraint. One of its libraries takes each token for
the characters of its name, `<audio_7>` too. A constrained answer is read the same way, so that
JSON stays whole.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from deployments.errors import UnsupportedRequest
from deployments.messages import ToolCall
from deployments.thinker.tokens import LiteralVocabulary, Split, TextDecoder


@dataclass(frozen=True, slots=True)
class Json:
    """JSON under a JSON Schema, which is JSON text itself."""

    schema: str


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of these texts."""

    texts: tuple[str, ...]


Constraint = Json | OneOf


class LiteralReader:
    """Reads a constrained answer: all of it is text."""

    speaking = False

    def __init__(self, vocabulary: LiteralVocabulary) -> None:
        self._decoder = TextDecoder(vocabulary)
        self._text = ""

    def push(self, token_ids: Iterable[int]) -> Split:
        """The characters that these ids complete."""
        new = "".join(map(self._decoder.push, token_ids))
        self._text += new
        return Split(text=new)

    def finish(self, complete: bool) -> Split:
        """Nothing: all text has been given.

        Raises:
            UnsupportedRequest: the answer is `complete`, and yet no JSON.
        """
        if complete:
            _require_json(self._text, "response_format")
        return Split()


class CallReader:
    """Reads the arguments of a call whose function is known; the call is whole at the end."""

    speaking = False

    def __init__(self, vocabulary: LiteralVocabulary, name: str) -> None:
        self._decoder = TextDecoder(vocabulary)
        self._name = name
        self._arguments = ""

    def push(self, token_ids: Iterable[int]) -> Split:
        """Nothing yet."""
        self._arguments += "".join(map(self._decoder.push, token_ids))
        return Split()

    def finish(self, complete: bool) -> Split:
        """The call; its arguments are cut off where the answer is.

        Raises:
            UnsupportedRequest: the answer is `complete`, and yet no JSON.
        """
        if complete:
            _require_json(self._arguments, "tools")
        return Split(tool_calls=[ToolCall(self._name, self._arguments)])


def _require_json(text: str, param: str) -> None:
    """Raise where vLLM ended an answer because it could not follow the schema any further."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        raise UnsupportedRequest("its JSON Schema is too complex to be followed", param) from None
