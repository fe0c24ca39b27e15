"""Token ids and what they mean: every id is read from the tokenizer by its name."""

import codecs
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Protocol

from tokenizers import Tokenizer

from deployments.errors import ConfigError
from deployments.messages import ToolCall

AUDIO_PATCH = "<audio_patch>"
AUDIO_CODES = 6561  # size of the speech codebook: <audio_0> … <audio_6560>

NAMES = {
    "turn_start": "<|BOT|>",
    "turn_end": "<|EOT|>",
    "audio_start": "<audio_start>",
    "audio_end": "<audio_end>",
    "audio_patch": AUDIO_PATCH,
    "tts_start": "<tts_start>",
    "tts_end": "<tts_end>",
    "tts_pad": "<tts_pad>",
    "audio_first": "<audio_0>",
    "audio_pad": f"<audio_{AUDIO_CODES}>",
    "tool_call_start": "<tool_call>",
    "tool_call_end": "</tool_call>",
    "think_start": "<think>",
    "think_end": "</think>",
}


class HasVocabulary(Protocol):
    """A tokenizer of transformers, of tokenizers, or vLLM's wrapper of one."""

    def get_vocab(self) -> dict[str, int]: ...


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """The ids that structure a prompt and an answer."""

    turn_start: int
    turn_end: int
    audio_start: int
    audio_end: int
    audio_patch: int
    tts_start: int
    tts_end: int
    tts_pad: int
    audio_first: int
    audio_pad: int
    tool_call_start: int
    tool_call_end: int
    think_start: int
    think_end: int

    @classmethod
    def from_tokenizer(cls, tokenizer: HasVocabulary) -> "SpecialTokens":
        """Read every id by name.

        Raises:
            ConfigError: the tokenizer lacks one, or its audio tokens are not consecutive.
        """
        vocabulary = tokenizer.get_vocab()
        missing = [name for name in NAMES.values() if name not in vocabulary]
        if missing:
            raise ConfigError(f"the model's tokenizer lacks the token {missing[0]}")
        tokens = cls(**{field: vocabulary[name] for field, name in NAMES.items()})
        if tokens.audio_pad - tokens.audio_first != AUDIO_CODES:
            raise ConfigError("the audio tokens of the model's tokenizer are not consecutive")
        return tokens

    def is_audio(self, token_id: int) -> bool:
        """Whether the id is an audio token or the padding between them."""
        return self.audio_first <= token_id <= self.audio_pad


class HasBytes(Protocol):
    """Says which bytes a token id stands for."""

    def bytes_of(self, token_id: int) -> bytes | None: ...


class TextVocabulary:
    """The bytes behind every text token of a byte-level BPE; other ids are no text at all.

    Special, added and unassigned ids have no bytes, so none of them can leak into a text.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        added = tokenizer.get_added_tokens_decoder()
        self._bytes = {
            token_id: _token_bytes(token)
            for token, token_id in tokenizer.get_vocab(with_added_tokens=False).items()
            if token_id not in added
        }
        self._names = {token_id: token.content.encode() for token_id, token in added.items()}

    def bytes_of(self, token_id: int) -> bytes | None:
        """The bytes of a text token, None for every other id."""
        return self._bytes.get(token_id)

    def literally(self) -> "LiteralVocabulary":
        """The same with special and added tokens as the characters of their names."""
        return LiteralVocabulary(self._bytes, self._names)


@dataclass(frozen=True, slots=True)
class LiteralVocabulary:
    """The bytes of every token, `<audio_7>` being nine of them."""

    texts: Mapping[int, bytes]
    names: Mapping[int, bytes]

    def bytes_of(self, token_id: int) -> bytes | None:
        """The bytes of a token, None for an id that is none."""
        return self.texts.get(token_id) or self.names.get(token_id)


class TextDecoder:
    """Token ids → text, piece by piece, never half a UTF-8 character.

    Bytes that can belong to no character become U+FFFD, as in the tokenizer's own decoder.
    """

    def __init__(self, vocabulary: HasBytes) -> None:
        self._vocabulary = vocabulary
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token_id: int) -> str:
        """The characters that this token completes."""
        return self._decoder.decode(self._vocabulary.bytes_of(token_id) or b"")


class Mode(Enum):
    """What the ids that come now belong to."""

    TEXT = auto()
    SPEECH = auto()
    TOOL_CALL = auto()
    THOUGHT = auto()


@dataclass(slots=True)
class Split:
    """What some token ids turned out to be."""

    text: str = ""
    reasoning: str = ""
    audio_tokens: list[int] = field(default_factory=list)
    tool_calls: list[ToolCall] = field(default_factory=list)


class OutputSplitter:
    """Sorts an answer's token ids into text, speech, thoughts and tool calls, by id alone.

    `<tts_start>` opens speech (text and audio tokens interleaved, padding dropped), `<tts_end>`
    closes it. `<tool_call>` and `<think>` open what their counterparts close; an audio token
    ends a call or a thought that was opened in speech, for neither can hold one. Audio tokens
    outside speech are dropped, as is a call that is not `function\\n{name}\\n{arguments}`.
    """

    def __init__(
        self, special: SpecialTokens, vocabulary: TextVocabulary, start: Mode = Mode.TEXT
    ) -> None:
        self._special = special
        self._mode = start
        self._outer = Mode.SPEECH if start is Mode.SPEECH else Mode.TEXT
        self._texts = {mode: TextDecoder(vocabulary) for mode in Mode}
        self._call = ""
        self._marks = {
            special.tts_start: self._start_speech,
            special.tts_end: self._end_speech,
            special.tool_call_start: lambda split: self._enter(Mode.TOOL_CALL),
            special.tool_call_end: self._end_call,
            special.think_start: lambda split: self._enter(Mode.THOUGHT),
            special.think_end: lambda split: self._enter(self._outer),
        }

    @property
    def speaking(self) -> bool:
        """Whether audio tokens may come next."""
        return self._mode is Mode.SPEECH

    def push(self, token_ids: Iterable[int]) -> Split:
        """Sort the next ids."""
        split = Split()
        for token_id in token_ids:
            if mark := self._marks.get(token_id):
                mark(split)
            elif self._special.is_audio(token_id):
                self._audio(token_id, split)
            elif token_id != self._special.tts_pad:
                self._text(token_id, split)
        return split

    def finish(self, complete: bool) -> Split:
        """Nothing: a call or a thought that was not closed is none."""
        return Split()

    def _enter(self, mode: Mode) -> None:
        self._mode, self._call = mode, ""

    def _start_speech(self, split: Split) -> None:
        self._outer = Mode.SPEECH
        self._enter(Mode.SPEECH)

    def _end_speech(self, split: Split) -> None:
        self._outer = Mode.TEXT
        self._enter(Mode.TEXT)

    def _end_call(self, split: Split) -> None:
        if self._mode is Mode.TOOL_CALL and (call := parse_tool_call(self._call)):
            split.tool_calls.append(call)
        self._enter(self._outer)

    def _audio(self, token_id: int, split: Split) -> None:
        if self._outer is Mode.SPEECH:
            self._enter(Mode.SPEECH)
            if token_id != self._special.audio_pad:
                split.audio_tokens.append(token_id - self._special.audio_first)

    def _text(self, token_id: int, split: Split) -> None:
        text = self._texts[self._mode].push(token_id)
        match self._mode:
            case Mode.TOOL_CALL:
                self._call += text
            case Mode.THOUGHT:
                split.reasoning += text
            case _:
                split.text += text


class StopStrings:
    """Ends a text before the first of some strings, holding back what may begin one."""

    def __init__(self, stops: Iterable[str]) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""
        self.found = False

    def push(self, text: str) -> str:
        """The part of the text so far that can be shown and was not yet."""
        if self.found or not self._stops:
            return "" if self.found else text
        text = self._held + text
        ends = [end for stop in self._stops if (end := text.find(stop)) >= 0]
        if ends:
            self.found, self._held = True, ""
            return text[: min(ends)]
        begun = max(_overlap(text, stop) for stop in self._stops)
        self._held = text[len(text) - begun :]
        return text[: len(text) - begun]

    def flush(self) -> str:
        """What was held back, once nothing more can come."""
        held, self._held = self._held, ""
        return held


def parse_tool_call(content: str) -> ToolCall | None:
    """What stands between `<tool_call>` and `</tool_call>`, None if it is no call."""
    kind, _, rest = content.partition("\n")
    name, _, arguments = rest.partition("\n")
    if kind.strip() != "function" or not name.strip():
        return None
    return ToolCall(name=name.strip(), arguments=arguments.strip())


def _overlap(text: str, stop: str) -> int:
    """The length of the longest end of `text` that `stop` begins with."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)


def _token_bytes(token: str) -> bytes:
    if all(character in _BYTES for character in token):
        return bytes(_BYTES[character] for character in token)
    return token.encode()


def _byte_alphabet() -> dict[str, int]:
    """The characters that stand for bytes in a byte-level BPE (GPT-2's): printable Latin-1
    characters for themselves, those from U+0100 on for the other bytes in ascending order."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in printable]
    alphabet = {chr(byte): byte for byte in printable}
    return alphabet | {chr(0x100 + index): byte for index, byte in enumerate(others)}


_BYTES = _byte_alphabet()
