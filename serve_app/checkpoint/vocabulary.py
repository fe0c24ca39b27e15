"""Vocabularies of the family: what each token id is, in the small and in the published numbering.

The byte-level part holds the 256 bytes and syllables ("ba", " ba"), so that whatever random
weights say can be read aloud, at least. The published numbering is filled up with longer made-up
words, which decode but are never the result of encoding.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, product

from tokenizers.pre_tokenizers import ByteLevel

AUDIO_CODES = 6561
_SPACE = "Ġ"  # a space in the byte-level alphabet
_SYLLABLES = tuple(c + v for c, v in product("bcdfghjklmnpqrstvwyz", "aeiou"))

_END_OF_TEXT, _IM_END, _TURN_END = "<|endoftext|>", "<|im_end|>", "<|EOT|>"
_AUDIO_TOKENS = tuple(f"<audio_{code}>" for code in range(AUDIO_CODES + 1))  # the last one pads

_SMALL_NAMED = (
    _END_OF_TEXT, "<|im_start|>", _IM_END, "<tool_call>", "</tool_call>", _TURN_END, "<|BOT|>",
    "<think>", "</think>", "<audio_start>", "<audio_end>", "<audio_patch>", "<tts_start>",
    "<tts_end>", "<tts_pad>",
)  # fmt: skip

# Ids of Qwen2.5's special tokens and the published ones of audio. <|BOT|>, <think>, </think> and
# <tts_pad> are known by name only: their numbers here are a choice of ours.
_PUBLISHED_NAMED = {
    151643: _END_OF_TEXT,
    151644: "<|im_start|>",
    151645: _IM_END,
    151657: "<tool_call>",
    151658: "</tool_call>",
    151665: _TURN_END,
    151666: "<|BOT|>",
    151667: "<think>",
    151668: "</think>",
    151688: "<audio_start>",
    151689: "<audio_end>",
    151690: "<audio_patch>",
    151693: "<tts_start>",
    151694: "<tts_end>",
    151695: "<tts_pad>",
}
_PUBLISHED_TEXT_TOKENS = 151643
_PUBLISHED_FIRST_AUDIO = 151696


@dataclass(frozen=True)
class Vocabulary:
    """Tokens in the order of their ids; `size` counts the unused rows behind them as well."""

    text: tuple[str, ...]  # in the byte-level alphabet
    merges: tuple[tuple[str, str], ...]  # of the BPE that makes the text tokens, first ones first
    added: tuple[str, ...]  # special and audio tokens, right after the text
    size: int

    @cached_property
    def ids(self) -> dict[str, int]:
        """The id of every token by its name."""
        return {token: index for index, token in enumerate((*self.text, *self.added))}

    @property
    def syllables(self) -> range:
        """Ids of the syllables that encoding can make, where the text is of syllables."""
        return range(256, 256 + 2 * len(_SYLLABLES))

    @property
    def eos_token_ids(self) -> list[int]:
        """What ends a turn: 151643, 151645 and 151665 in the published numbering."""
        return [self.ids[name] for name in (_END_OF_TEXT, _IM_END, _TURN_END)]


def small_vocabulary() -> Vocabulary:
    """7033 tokens: the bytes, the syllables, every special token, every audio token."""
    return compact_vocabulary(_text_tokens(256 + 2 * len(_SYLLABLES)), _syllable_merges())


def compact_vocabulary(text: tuple[str, ...], merges: tuple[tuple[str, str], ...]) -> Vocabulary:
    """Any text tokens, then every special token, every audio token; rows to a multiple of 64."""
    added = (*_SMALL_NAMED, *_AUDIO_TOKENS)
    return Vocabulary(text, merges, added, size=-(-(len(text) + len(added)) // 64) * 64)


def published_vocabulary() -> Vocabulary:
    """The published numbering, 158720 rows; numbers that nothing uses are reserved tokens."""
    reserved = range(_PUBLISHED_TEXT_TOKENS, _PUBLISHED_FIRST_AUDIO)
    named = tuple(_PUBLISHED_NAMED.get(index, f"<|reserved_{index}|>") for index in reserved)
    text = _text_tokens(_PUBLISHED_TEXT_TOKENS)
    return Vocabulary(text, _syllable_merges(), (*named, *_AUDIO_TOKENS), size=158720)


def _syllable_merges() -> tuple[tuple[str, str], ...]:
    """Letters to syllables, then a space before a syllable."""
    letters = [(syllable[0], syllable[1]) for syllable in _SYLLABLES]
    return (*letters, *((_SPACE, syllable) for syllable in _SYLLABLES))


def _text_tokens(count: int) -> tuple[str, ...]:
    def words() -> Iterator[str]:
        yield from sorted(ByteLevel.alphabet())
        yield from _SYLLABLES
        for length in (1, 2, 3):
            for parts in product(_SYLLABLES, repeat=length):
                yield _SPACE + "".join(parts)

    return tuple(islice(words(), count))
