"""All turns of a conversation have one key, and other conversations have others."""

import time

import numpy as np
import pytest

from deployments.messages import (
    AudioPart,
    Message,
    Part,
    Role,
    SpokenPart,
    TextPart,
    ToolCall,
)
from serve_app.http.chat.conversation import conversation_of

SAMPLES = np.random.default_rng(0).standard_normal(16_000 * 30).astype(np.float32)
LONG = "be kind " * 20_000


def said(role: Role, *parts: Part) -> Message:
    return Message(role, parts)


def text(words: str) -> TextPart:
    return TextPart(words)


SYSTEM = said(Role.SYSTEM, text("be kind"))
ASKED = said(Role.HUMAN, text("hello"), AudioPart(SAMPLES))
LATER = [
    (said(Role.ASSISTANT, SpokenPart((1, 2, 3))), said(Role.HUMAN, text("and then?"))),
    (said(Role.ASSISTANT, text("a"), ToolCall("f", "{}")), said(Role.TOOL_RESULT, text("1"))),
]


@pytest.mark.parametrize("later", LATER)
def test_every_turn_has_the_key_of_the_first(later):
    assert conversation_of([SYSTEM, ASKED, *later]) == conversation_of([SYSTEM, ASKED])


@pytest.mark.parametrize(
    "other",
    [
        [said(Role.SYSTEM, text("be brief")), ASKED],
        [ASKED],
        [SYSTEM, said(Role.HUMAN, text("hi"), AudioPart(SAMPLES))],
        [SYSTEM, said(Role.HUMAN, text("hello"), AudioPart(SAMPLES[::-1]))],
        [SYSTEM, said(Role.HUMAN, text("hello"), AudioPart(SAMPLES[:-1]))],
        [SYSTEM, said(Role.TOOL_SCHEMAS, text("[]")), ASKED],
    ],
)
def test_what_begins_otherwise_has_another_key(other):
    assert conversation_of(other) != conversation_of([SYSTEM, ASKED])


def test_a_lone_surrogate_and_an_empty_recording_have_a_key():
    empty = AudioPart(np.zeros(0, np.float32))
    assert conversation_of([said(Role.HUMAN, text("\ud800"), empty)])


def test_a_key_costs_no_more_for_a_long_prompt():
    messages = [said(Role.SYSTEM, text(LONG)), ASKED]
    took_s = []
    for _ in range(200):
        began_s = time.perf_counter()
        conversation_of(messages)
        took_s.append(time.perf_counter() - began_s)
    assert min(took_s) < 0.0002  # to hash all of it takes 3 ms
