from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from deployments.errors import PromptTooLong
from deployments.messages import (
    AudioPart,
    Heard,
    Message,
    Role,
    SpokenPart,
    TextPart,
)
from deployments.thinker.prompt import PromptBuilder
from deployments.thinker.tokens import SpecialTokens
from serve_app.http.realtime.truncation import (
    AUTO_KEEPS,
    Memory,
    Remembered,
    Rule,
    forgotten,
    message_tokens,
)

NANO = Tokenizer.from_file("configs/nano/tokenizer.json")
HEAD = (Message(Role.SYSTEM, (TextPart("be kind"),)),)


@st.composite
def conversations(draw) -> list[Remembered]:
    """Turns of a user and an assistant; some call tools, whose results may come turns later."""
    items: list[Remembered] = []
    late: list[Remembered] = []
    for turn in range(draw(st.integers(1, 12))):
        size = st.integers(1, 400)
        items.append(Remembered(f"user{turn}", draw(size), begins_turn=True))
        items += [late.pop(0)] * draw(st.booleans()) if late else []
        items.append(Remembered(f"said{turn}", draw(size)))
        for call in range(draw(st.integers(0, 2))):
            call_id = f"call{turn}_{call}"
            items.append(Remembered(call_id, draw(size), call_id=call_id))
            result = Remembered(f"result{turn}_{call}", draw(size), call_id=call_id)
            (late if draw(st.booleans()) else items).append(result)
    return items


def tokens(items) -> int:
    return sum(item.tokens for item in items)


@settings(max_examples=50, deadline=None)
@given(conversations(), st.integers(0, 4000), st.sampled_from([0.0, 0.5, 0.7, 1.0, None]))
def test_what_is_kept_fits_and_begins_with_a_turn_and_has_no_result_without_its_call(
    items, limit, keeps
):
    try:
        gone = forgotten(items, limit, keeps)
    except PromptTooLong as error:
        assert error.limit == limit
        assert error.tokens > limit
        return
    kept = [item for item in items if item.id not in gone]
    assert tokens(kept) <= limit
    assert kept[0].begins_turn
    users = [item.id for item in items if item.begins_turn]
    assert [item.id for item in kept if item.begins_turn] == users[
        -sum(k.begins_turn for k in kept) :
    ]
    calls = [item.call_id for item in items if item.call_id]
    kept_calls = [item.call_id for item in kept if item.call_id]
    for call in set(kept_calls):
        assert kept_calls.count(call) == calls.count(call)
    assert gone == [item.id for item in items if item.id in gone]
    if tokens(items) <= limit:
        assert not gone


@settings(max_examples=50, deadline=None)
@given(conversations(), st.integers(0, 4000))
def test_an_error_means_that_the_last_thing_said_alone_is_too_long(items, limit):
    last = [item for item in items if item.begins_turn][-1]
    behind = items[items.index(last) :]
    must_stay = tokens(item for item in behind if item.call_id is None)
    if must_stay <= limit:
        assert last.id not in forgotten(items, limit, AUTO_KEEPS)
    else:
        with pytest.raises(PromptTooLong):
            forgotten(items, limit, AUTO_KEEPS)


def turns(count: int, size: int = 50) -> list[Remembered]:
    return [
        Remembered(f"{who}{n}", size, begins_turn=who == "user")
        for n in range(count)
        for who in ("user", "said")
    ]


def test_the_beginning_of_the_prompt_stays_the_same_for_many_turns():
    """A context of 3000 tokens, 100 a turn: of each ten turns one begins anew."""
    remembered: list[Remembered] = []
    firsts = []
    for turn in turns(200):
        remembered.append(turn)
        gone = forgotten(remembered, 3000, AUTO_KEEPS)
        remembered = [item for item in remembered if item.id not in gone]
        firsts.append(remembered[0].id)
        assert tokens(remembered) <= 3000
    changes = sum(before != after for before, after in pairwise(firsts))
    assert 15 <= changes <= 20  # (20 000 − 3000) / (30 % of 3000) = 19


def test_a_ratio_says_how_much_is_kept():
    for keeps, left in ((0.0, 100), (0.2, 200), (0.5, 500), (0.8, 800), (1.0, 1000)):
        gone = forgotten(turns(20), 1000, keeps)
        assert 20 * 100 - 50 * len(gone) == left


def test_a_conversation_that_must_not_be_cut_is_an_error_once_it_is_too_long():
    assert forgotten(turns(10), 1000, None) == []
    with pytest.raises(PromptTooLong) as refused:
        forgotten(turns(11), 1000, None)
    assert (refused.value.tokens, refused.value.limit) == (1100, 1000)


def test_of_the_last_turn_the_oldest_calls_are_forgotten_with_their_results():
    question = Remembered("user", 10, begins_turn=True)
    calls = [
        Remembered(f"{what}{n}", 40, call_id=f"call{n}")
        for n in range(5)
        for what in ("call", "result")
    ]
    assert forgotten([question, *calls], 260, AUTO_KEEPS) == [
        "call0",
        "result0",
        "call1",
        "result1",
    ]


def test_the_instructions_the_tools_and_the_answer_take_their_room():
    memory = Memory(context_tokens=2000)
    long = (*HEAD, Message(Role.TOOL_SCHEMAS, (TextPart("x" * 1500),)))
    assert memory.forgotten(HEAD, turns(15), 400, Rule()) == []
    assert memory.forgotten(HEAD, turns(15), 600, Rule()) != []
    assert memory.forgotten(long, turns(15), 400, Rule()) != []


def test_a_limit_behind_the_instructions_is_kept_though_there_is_room():
    memory = Memory(context_tokens=10_000)
    gone = memory.forgotten(HEAD, turns(20), 0, Rule(keeps=0.5, most_tokens=1000))
    assert len(gone) == 30
    assert memory.forgotten(HEAD, turns(20), 0, Rule()) == []


def test_without_a_known_context_nothing_is_forgotten_until_a_prompt_was_refused():
    memory = Memory()
    items = turns(20)
    assert memory.forgotten(HEAD, items, 100, Rule()) == []
    memory.refused(estimated_tokens=2000, tokens=2400, limit=1499)
    gone = memory.forgotten(HEAD, items, 100, Rule())
    kept = tokens(item for item in items if item.id not in gone)
    assert 0.6 * 1400 < kept * 2400 / 2000 < 0.72 * 1400


def test_estimates_follow_what_prompts_really_had():
    memory = Memory(context_tokens=1000)
    memory.learn(estimated_tokens=1000, prompt_tokens=500)
    assert memory.forgotten(HEAD, turns(15), 0, Rule()) == []  # 1500 estimated, 750 in truth
    memory.learn(estimated_tokens=1000, prompt_tokens=1000)
    assert memory.forgotten(HEAD, turns(15), 0, Rule()) != []


@pytest.mark.parametrize("seconds", [0.001, 0.5, 7.3, 25, 26, 60])
def test_sound_is_counted_exactly(seconds):
    special = SpecialTokens.from_tokenizer(NANO)
    builder = PromptBuilder(NANO, special)
    empty = builder.build([Message(Role.HUMAN, ())], "text").length
    spoken = SpokenPart(tuple(special.audio_first + n for n in range(60)))
    for part in (AudioPart(np.ones(round(seconds * 16_000), np.float32)), spoken):
        message = Message(Role.HUMAN, (part,))
        exact = builder.build([message], "text").length - empty
        assert message_tokens(message) - message_tokens(Message(Role.HUMAN, ())) == exact


@pytest.mark.parametrize("audio_tokens", [0, 1, 4, 17, 39, 40])
def test_an_interrupted_turn_is_counted_as_it_was_heard(audio_tokens):
    special = SpecialTokens.from_tokenizer(NANO)
    builder = PromptBuilder(NANO, special)
    empty = builder.build([Message(Role.ASSISTANT, ())], "text").length
    pattern = [special.tts_pad, *(special.audio_first + n for n in range(4))]
    whole = SpokenPart((*pattern * 10, special.tts_end))
    cut = replace(whole, heard=Heard(audio_tokens, ""))
    exact = builder.build([Message(Role.ASSISTANT, (cut,))], "text").length - empty
    estimated = message_tokens(Message(Role.ASSISTANT, (cut,)))
    assert exact <= estimated - message_tokens(Message(Role.ASSISTANT, ())) <= exact + 5


def test_text_is_estimated_rather_too_high():
    special = SpecialTokens.from_tokenizer(NANO)
    builder = PromptBuilder(NANO, special)
    words = "please open the window because it is very cold today and the door is open"
    for parts in ((words,), (words, f" {words}"), ("",)):
        message = Message(Role.HUMAN, tuple(map(TextPart, parts)))
        exact = builder.build([message], "text").length - builder.build([], "text").length
        assert exact <= message_tokens(message) <= 2 * exact
