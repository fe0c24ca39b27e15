"""A conversation → the Thinker's prompt.

    <|BOT|>{role}\\n{content}<|EOT|> … <|BOT|>assistant\\n

followed by `<tts_start>` for a spoken reply. A caller's text is encoded by a tokenizer that knows
no special token, so nothing that is written can end a turn or pose as audio.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from tokenizers import Tokenizer

from deployments.errors import AudioUnreadable, PromptTooLong, SpokenTurnInvalid
from deployments.messages import (
    AudioPart,
    Message,
    Part,
    Role,
    SpokenPart,
    TextPart,
    ToolCall,
)
from deployments.thinker.heard import heard_ids
from deployments.thinker.tokens import SpecialTokens, TextVocabulary
from deployments.thinker.vllm_plugin.lengths import (
    MIN_PIECE_SAMPLES,
    PIECE_SAMPLES,
    placeholder_tokens,
)

# More than any language has in the mean; runs of spaces and of dashes have more.
CHARACTERS_A_TOKEN = 8
# A cut inside a word may take more tokens than the whole word.
CUT_TOKENS = 256


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """What the engine is given: one `<audio_patch>` in the ids stands for each piece of audio."""

    token_ids: list[int]
    audio_pieces: list[np.ndarray]  # each [N] float32, 16 kHz, at most 25 s
    spoken_tokens: int = 0  # audio tokens of earlier spoken turns, among the ids

    @property
    def length(self) -> int:
        """Tokens in the model's context, once each piece has its placeholders."""
        return len(self.token_ids) - len(self.audio_pieces) + self._placeholders

    @property
    def audio_tokens(self) -> int:
        """Those of them that are sound: heard, or spoken before."""
        return self._placeholders + self.spoken_tokens

    @property
    def _placeholders(self) -> int:
        return sum(placeholder_tokens(len(piece)) for piece in self.audio_pieces)


class PromptBuilder:
    """Writes prompts in the model's template."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        special: SpecialTokens,
        *,
        vocabulary: TextVocabulary | None = None,
        think: bool = False,
    ) -> None:
        """`vocabulary` is the tokenizer's own; it is made where none is given."""
        self._plain = without_added_tokens(tokenizer)
        self._special = special
        self._vocabulary = vocabulary or TextVocabulary(tokenizer)
        self._think = think
        # Ids that shape a prompt have no place in a turn that was spoken.
        self._never_spoken = {special.turn_start, special.turn_end, special.audio_patch}
        self._last_id = max(tokenizer.get_vocab().values())

    def build(
        self,
        messages: Sequence[Message],
        reply: Literal["text", "speech"],
        most_tokens: int | None = None,
    ) -> Prompt:
        """The prompt up to where the answer begins; its length is for the caller to check.

        Raises:
            PromptTooLong: its text is far longer than `most_tokens`, and is not encoded to its
                end: a megabyte takes a second, in which no stream goes on.
            AudioUnreadable: a recording has no samples, or some that are not finite.
            SpokenTurnInvalid: an earlier spoken turn has ids that the vocabulary does not have.
        """
        writer = _Writer(self._plain, most_tokens)
        for message in messages:
            writer.token(self._special.turn_start)
            writer.text(f"{message.role.value}\n")
            for part in message.parts:
                self._write(part, writer)
            writer.token(self._special.turn_end)
        writer.token(self._special.turn_start)
        writer.text(f"{Role.ASSISTANT.value}\n")
        if self._think:
            writer.text("\n")
            writer.token(self._special.think_start)
            writer.text("\n")
        elif reply == "speech":
            writer.token(self._special.tts_start)
        return writer.finish()

    def after_thought(
        self, prompt: Prompt, thought: Sequence[int], reply: Literal["text", "speech"]
    ) -> Prompt:
        """The prompt of the answer itself, after what the model thought about `prompt`."""
        ids = [*prompt.token_ids, *thought, self._special.think_end, *self._encode("\n\n")]
        if reply == "speech":
            ids.append(self._special.tts_start)
        return replace(prompt, token_ids=ids)

    def behind(self, prompt: Prompt, made: Sequence[int]) -> Prompt:
        """The prompt of the rest of an answer, of which `made` is the beginning."""
        return replace(prompt, token_ids=[*prompt.token_ids, *made])

    def calling(self, prompt: Prompt, name: str | None = None) -> Prompt:
        """The prompt of an answer that calls a function: of its name, or of its arguments."""
        opening = "function\n" if name is None else f"function\n{name}\n"
        ids = [*prompt.token_ids, self._special.tool_call_start, *self._encode(opening)]
        return replace(prompt, token_ids=ids)

    def _encode(self, text: str) -> list[int]:
        return self._plain.encode(text, add_special_tokens=False).ids

    def _write(self, part: Part, writer: "_Writer") -> None:
        special = self._special
        match part:
            case TextPart(text):
                writer.text(text)
            case AudioPart(samples):
                for piece in self._pieces(samples):
                    writer.audio(special.audio_patch, piece)
            case SpokenPart():
                writer.token(special.tts_start)
                for token_id in self._spoken(part):
                    writer.token(token_id)
                    writer.spoken_tokens += special.is_audio(token_id)
            case ToolCall(name, arguments):
                writer.token(special.tool_call_start)
                writer.text(f"function\n{name}\n{arguments}")
                writer.token(special.tool_call_end)

    def _spoken(self, part: SpokenPart) -> list[int]:
        """The ids of an earlier spoken turn after its `<tts_start>`, as far as it was heard."""
        if part.token_ids and max(part.token_ids) > self._last_id:
            raise SpokenTurnInvalid("another model spoke it", param="messages")
        ids = [token_id for token_id in part.token_ids if token_id not in self._never_spoken]
        if part.heard is None:
            return ids
        return heard_ids(ids, part.heard, self._special, self._vocabulary)

    def _pieces(self, samples: np.ndarray) -> Iterator[np.ndarray]:
        """Cut a recording into pieces of 25 s; a last scrap is padded to what can be encoded."""
        if not len(samples):
            raise AudioUnreadable("it has no samples")
        if not np.isfinite(samples).all():
            raise AudioUnreadable("it has samples that are not finite")
        for start in range(0, len(samples), PIECE_SAMPLES):
            piece = np.asarray(samples[start : start + PIECE_SAMPLES], dtype=np.float32)
            yield np.pad(piece, (0, max(0, MIN_PIECE_SAMPLES - len(piece))))


class _Writer:
    """Collects a prompt; neighbouring texts are encoded as one, as the model was trained."""

    def __init__(self, plain: Tokenizer, most_tokens: int | None) -> None:
        self._plain = plain
        self._most_tokens = most_tokens
        self._text: list[str] = []
        self._prompt = Prompt([], [])
        self.spoken_tokens = 0

    def text(self, text: str) -> None:
        self._text.append(text)

    def token(self, token_id: int) -> None:
        self._encode_text()
        self._prompt.token_ids.append(token_id)

    def audio(self, patch: int, piece: np.ndarray) -> None:
        self.token(patch)
        self._prompt.audio_pieces.append(piece)

    def finish(self) -> Prompt:
        self._encode_text()
        return replace(self._prompt, spoken_tokens=self.spoken_tokens)

    def _encode_text(self) -> None:
        if self._text:
            text = "".join(self._text)
            self._require_room(text)
            ids = self._plain.encode(text, add_special_tokens=False).ids
            self._prompt.token_ids.extend(ids)
            self._text.clear()

    def _require_room(self, text: str) -> None:
        """Raise PromptTooLong if what is written, or already the beginning of `text`, is too long.

        The beginning is doubled until it does not fit or is all: to encode it takes a fraction of
        a second, and the whole of a hostile text half a minute.
        """
        if self._most_tokens is None:
            return
        written = len(self._prompt.token_ids)
        if written > self._most_tokens:
            raise PromptTooLong(written, self._most_tokens)
        characters = CHARACTERS_A_TOKEN * (self._most_tokens + 1)
        while characters < len(text):
            begun = len(self._plain.encode(text[:characters], add_special_tokens=False).ids)
            if begun > self._most_tokens + CUT_TOKENS:
                raise PromptTooLong(written + begun, self._most_tokens)
            characters *= 2


def without_added_tokens(tokenizer: Tokenizer) -> Tokenizer:
    """A tokenizer that reads `<|EOT|>`, `<think>` and the like as any other characters.

    `encode_special_tokens` is not enough: it leaves tokens that were added as ordinary ones.
    """
    state = json.loads(tokenizer.to_str())
    return Tokenizer.from_str(json.dumps(state | {"added_tokens": [], "post_processor": None}))
