"""What the model still remembers of a conversation that is longer than its context.

The oldest turns are forgotten, and once one must be, as many as free a large part of the context:
the prompts of the next turns then begin alike, and the Thinker finds that beginning in its cache.
Forgetting one turn each time would move the beginning of every prompt.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

from deployments.errors import PromptTooLong
from deployments.messages import AudioPart, Heard, Message, Part, SpokenPart, TextPart, ToolCall
from deployments.thinker.heard import AUDIO_TOKENS_A_GROUP
from deployments.thinker.vllm_plugin.lengths import (
    MIN_PIECE_SAMPLES,
    PIECE_SAMPLES,
    placeholder_tokens,
)

AUTO_KEEPS = 0.7
"""The share of the room that is kept by `auto`: at 22 tokens a second and a context of 4096, some
turns are forgotten once a minute."""

FRAME_TOKENS = 5  # <|BOT|>, the role, the line's end and <|EOT|>; a role has up to two tokens
CALL_TOKENS = 6  # <tool_call>, "function", two line ends and </tool_call>
# Of UTF-8. Qwen's tokenizer has 4.5 in English and 3 in Chinese; an estimate had better be high.
BYTES_A_TOKEN = 3.0


@dataclass(frozen=True, slots=True)
class Rule:
    """When a conversation is too long, and what is then kept of it."""

    keeps: float | None = AUTO_KEEPS  # of the room, 0 … 1; None: it must never be too long
    most_tokens: int | None = None  # of the items, though there is more room


@dataclass(frozen=True, slots=True)
class Remembered:
    """An item of the conversation that the next prompt would hold."""

    id: str
    tokens: int
    begins_turn: bool = False  # it is the user's
    call_id: str | None = None  # that a tool's call and its result share


class Memory:
    """Of one conversation: how large its context is, and how well lengths are estimated."""

    def __init__(self, context_tokens: int | None = None) -> None:
        """Without `context_tokens` nothing is forgotten before a prompt was refused."""
        self.context_tokens = context_tokens
        self._scale = 1.0  # true tokens for each estimated one

    def forgotten(
        self,
        head: Sequence[Message],
        items: Sequence[Remembered],
        answer_tokens: int,
        rule: Rule,
    ) -> list[str]:
        """Which of `items` no prompt must hold from now on; the caller asks no more about them.

        Args:
            head: the instructions and the tools, which are never forgotten.
            items: what the prompt would hold behind them, in its order, lengths estimated by
                `message_tokens`.
            answer_tokens: the room that the answer needs.

        Raises:
            PromptTooLong: the rule lets nothing be forgotten, or the last turn alone is too long.
        """
        if self.context_tokens is None:
            return []
        taken = self._true(sum(map(message_tokens, head))) + FRAME_TOKENS
        room = self.context_tokens - answer_tokens - taken
        limit = room if rule.most_tokens is None else min(room, rule.most_tokens)
        true = [
            Remembered(item.id, self._true(item.tokens), item.begins_turn, item.call_id)
            for item in items
        ]
        return forgotten(true, limit, rule.keeps)

    def learn(self, estimated_tokens: int, prompt_tokens: int) -> None:
        """Compare an estimate of a whole prompt with its true length, of the answer's usage."""
        if estimated_tokens > 0 and prompt_tokens > 0:
            self._scale = prompt_tokens / estimated_tokens

    def refused(self, estimated_tokens: int, tokens: int, limit: int) -> None:
        """Learn from a prompt of `tokens` that was refused as longer than `limit`."""
        self.context_tokens = limit + 1
        self.learn(estimated_tokens, tokens)

    def _true(self, estimated: int) -> int:
        return -int(-estimated * self._scale // 1)


def forgotten(items: Sequence[Remembered], limit: int, keeps: float | None) -> list[str]:
    """The ids of the items to forget, oldest first: none while all fit into `limit` tokens.

    Whole turns go, and a tool's result with its call, until `keeps` of the limit is left; of the
    last turn only exchanges with tools, and only as far as they do not fit.

    Raises:
        PromptTooLong: nothing may be forgotten, or what must stay is too long.
    """
    left = sum(item.tokens for item in items)
    if left <= limit:
        return []
    if keeps is None:
        raise PromptTooLong(left, max(0, limit))
    *turns, last = _turns(items)
    partners = _by_call(items)
    gone: set[str] = set()
    for group, enough in [
        *((turn, keeps * limit) for turn in turns),
        *((exchange, limit) for exchange in _exchanges(last)),
    ]:
        if left <= enough:
            break
        for item in chain(group, *(partners.get(item.call_id, ()) for item in group)):
            left -= item.tokens if item.id not in gone else 0
            gone.add(item.id)
    if left > limit:
        raise PromptTooLong(left, max(0, limit))
    return [item.id for item in items if item.id in gone]


def _turns(items: Sequence[Remembered]) -> list[list[Remembered]]:
    """The items in turns, each from what the user said to before the next; at least one."""
    turns: list[list[Remembered]] = [[]]
    for item in items:
        if item.begins_turn and turns[-1]:
            turns.append([])
        turns[-1].append(item)
    return turns


def _exchanges(turn: Iterable[Remembered]) -> list[list[Remembered]]:
    """The calls of tools in a turn, each of which may go alone."""
    return [[item] for item in turn if item.call_id is not None]


def _by_call(items: Iterable[Remembered]) -> dict[str | None, list[Remembered]]:
    """The call and the result of each tool that was called."""
    found: dict[str | None, list[Remembered]] = defaultdict(list)
    for item in items:
        if item.call_id is not None:
            found[item.call_id].append(item)
    return found


def message_tokens(message: Message) -> int:
    """About how many tokens of a prompt a message takes: sound exactly, text by its bytes."""
    return FRAME_TOKENS + sum(map(_part_tokens, message.parts))


def _part_tokens(part: Part) -> int:
    match part:
        case TextPart(text):
            return _text_tokens(text)
        case AudioPart(samples):
            whole, rest = divmod(len(samples), PIECE_SAMPLES)
            pieces = [PIECE_SAMPLES] * whole + [max(MIN_PIECE_SAMPLES, rest)] * bool(rest)
            return sum(map(placeholder_tokens, pieces))
        case SpokenPart(token_ids, Heard(audio_tokens)):
            groups = 1 + audio_tokens // AUDIO_TOKENS_A_GROUP
            return min(len(token_ids), groups * (1 + AUDIO_TOKENS_A_GROUP)) + 2
        case SpokenPart(token_ids):
            return 1 + len(token_ids)
        case ToolCall(name, arguments):
            return CALL_TOKENS + _text_tokens(name) + _text_tokens(arguments)


def _text_tokens(text: str) -> int:
    size = len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))
    return -int(-size / BYTES_A_TOKEN // 1)
