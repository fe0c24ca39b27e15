"""What a session's prompts hold of its conversation, once that is longer than the context."""

from collections.abc import Sequence
from dataclasses import replace

from deployments.errors import PromptTooLong
from deployments.messages import Message, Usage
from serve_app.http.realtime.conversation import prompt_of
from serve_app.http.realtime.items import CallItem, Item, MessageItem, OutputItem
from serve_app.http.realtime.response_plan import Plan
from serve_app.http.realtime.session_types import RetentionRatio, Truncation
from serve_app.http.realtime.truncation import (
    FRAME_TOKENS,
    Memory,
    Remembered,
    Rule,
    message_tokens,
)

# That a prompt leaves for the answer: 33 s of speech. Of a small context, a third.
ANSWER_TOKENS = 1024
ANSWER_PART = 3


class ContextWindow:
    """Forgets the oldest turns of one conversation. Clients see them for ever."""

    def __init__(self, context_tokens: int | None) -> None:
        """`context_tokens` of the model; None where only a refusal will tell."""
        self._memory = Memory(context_tokens)

    def fit(self, plan: Plan, truncation: Truncation | None) -> Plan:
        """`plan` with a prompt that fits.

        Raises:
            PromptTooLong: nothing that may be forgotten makes it fit.
        """
        if not plan.remembers:
            return plan  # without its conversation, or with items that the client chose
        kept = [item for item in plan.items if not item.forgotten]
        gone = set(
            self._memory.forgotten(
                _head(plan), _remembered(kept), self._answer_tokens(plan), _rule(truncation)
            )
        )
        for item in kept:
            if item.id in gone:
                item.forget()
        return replace(plan, items=[item for item in kept if not item.forgotten])

    def learn(self, plan: Plan, usage: Usage) -> None:
        """Compare the estimate of a prompt with its true length."""
        self._memory.learn(_estimate(plan), usage.prompt_tokens)

    def refused(self, plan: Plan, error: PromptTooLong) -> None:
        """Learn from a prompt that was too long."""
        self._memory.refused(_estimate(plan), error.tokens, error.limit)

    def _answer_tokens(self, plan: Plan) -> int:
        most = (self._memory.context_tokens or 0) // ANSWER_PART
        return min(plan.max_output_tokens or ANSWER_TOKENS, most)


def _rule(truncation: Truncation | None) -> Rule:
    if truncation == "disabled":
        return Rule(keeps=None)
    if isinstance(truncation, RetentionRatio):
        limits = truncation.token_limits
        most = limits.post_instructions if limits else None
        return Rule(truncation.retention_ratio, most)
    return Rule()


def _head(plan: Plan) -> tuple[Message, ...]:
    return prompt_of(plan.instructions, plan.tools, ())


def _estimate(plan: Plan) -> int:
    messages = plan.messages()
    return sum(map(message_tokens, messages)) + FRAME_TOKENS


def _remembered(items: Sequence[Item]) -> list[Remembered]:
    known = {id(item) for item in items}
    return [
        Remembered(
            item.id,
            _tokens(item, known),
            begins_turn=isinstance(item, MessageItem) and item.role == "user",
            call_id=item.call_id if isinstance(item, CallItem | OutputItem) else None,
        )
        for item in items
    ]


def _tokens(item: Item, known: set[int]) -> int:
    if isinstance(item, CallItem) and id(item.spoken_in) in known:
        return 0  # the ids of the turn hold the call
    message = item.message()
    return message_tokens(message) if message else 0
