import random
from dataclasses import astuple

import pytest
from tokenizers import Tokenizer

from deployments.messages import Heard, Message, Role, SpokenPart, ToolCall
from deployments.thinker.heard import AUDIO_TOKENS_A_GROUP, heard_ids, interleaved
from deployments.thinker.prompt import PromptBuilder
from deployments.thinker.tokens import (
    Mode,
    OutputSplitter,
    SpecialTokens,
    TextDecoder,
    TextVocabulary,
)

PERIOD = 1 + AUDIO_TOKENS_A_GROUP

# A text, and the audio tokens that say it: what is usual, a quick voice, nearly no text, no text.
TURNS = [
    ("hello hello, hello. he hell hello", 75),
    ("hello, hello hello hello hello hello", 20),
    ("he", 30),
    ("你好，我是一个语音助手。", 60),
    ("naïve — 👋🏽 hello", 42),
    ("", 9),
]


@pytest.fixture(scope="module")
def encode(tokenizer: Tokenizer):
    return lambda text: tokenizer.encode(text, add_special_tokens=False).ids


@pytest.fixture(scope="module")
def write(special: SpecialTokens, encode):
    """The ids that a model makes after `<tts_start>`: of a text, said with `count` tokens."""

    def ids(text: str, count: int) -> list[int]:
        codes = [special.audio_first + (7 * n + len(text)) % 6561 for n in range(count)]
        return list(interleaved(encode(text), codes, special))

    return ids


def text_of(ids, special, vocabulary) -> list[int]:
    return [i for i in ids if vocabulary.bytes_of(i) is not None]


def audio_of(ids, special) -> list[int]:
    return [i for i in ids if special.is_audio(i) and i != special.audio_pad]


def spell(ids, vocabulary) -> str:
    return "".join(map(TextDecoder(vocabulary).push, ids))


def squeezed(text: str) -> str:
    return "".join(text.split())


def require_pattern(ids: list[int], special: SpecialTokens, vocabulary: TextVocabulary) -> None:
    """TA4: text first, then its padding; sound first, then its padding; one of both has none."""
    *body, end = ids
    assert end == special.tts_end
    assert len(body) % PERIOD == 0
    words, sounds = body[::PERIOD], [i for n, i in enumerate(body) if n % PERIOD]
    said = [i for i in words if i != special.tts_pad]
    assert words == said + [special.tts_pad] * (len(words) - len(said))
    assert all(vocabulary.bytes_of(i) is not None for i in said)
    heard = [i for i in sounds if i != special.audio_pad]
    assert sounds == heard + [special.audio_pad] * (len(sounds) - len(heard))
    assert all(map(special.is_audio, heard))
    assert len(words) == max(len(said), -(-len(heard) // AUDIO_TOKENS_A_GROUP))


@pytest.mark.parametrize(("text", "count"), TURNS)
def test_every_cut_holds_the_heard_sound_and_the_heard_text_and_no_more(
    text, count, write, special, vocabulary
):
    ids = write(text, count)
    all_text, all_audio = text_of(ids, special, vocabulary), audio_of(ids, special)
    for audio_tokens in range(count):
        for characters in range(len(text) + 1):
            heard = Heard(audio_tokens, text[:characters])
            cut = heard_ids(ids, heard, special, vocabulary)
            require_pattern(cut, special, vocabulary)
            assert audio_of(cut, special) == all_audio[:audio_tokens]
            kept = text_of(cut, special, vocabulary)
            assert kept == all_text[: len(kept)]
            assert squeezed(spell(kept, vocabulary)).startswith(squeezed(heard.text))
            if kept:  # one token fewer would not hold all that was heard
                fewer = squeezed(spell(kept[:-1], vocabulary))
                assert len(fewer) < len(squeezed(heard.text))
            else:
                assert not squeezed(heard.text)


def test_the_model_reads_out_of_a_cut_what_was_heard(write, special, vocabulary):
    ids = write("hello hello, hello. he hell hello", 75)
    cut = heard_ids(ids, Heard(17, "hello hello,"), special, vocabulary)
    split = OutputSplitter(special, vocabulary, Mode.SPEECH).push(cut)
    assert split.text == "hello hello,"
    assert len(split.audio_tokens) == 17


@pytest.mark.parametrize("heard", ["hello hello,", "hellohello,", " hello  hello, "])
def test_spaces_do_not_count_in_what_was_heard(heard, write, special, vocabulary):
    cut = heard_ids(write("hello hello, hello", 40), Heard(20, heard), special, vocabulary)
    assert spell(text_of(cut, special, vocabulary), vocabulary) == "hello hello,"


def test_a_word_that_was_heard_in_part_is_kept_whole(write, special, vocabulary):
    cut = heard_ids(write("hello hello", 40), Heard(5, "hel"), special, vocabulary)
    assert spell(text_of(cut, special, vocabulary), vocabulary) == "hello"


def test_as_far_as_its_text_was_heard_the_ids_are_those_that_were_produced(
    write, special, vocabulary
):
    ids = write("hello hello, hello. he hell hello", 75)
    cut = heard_ids(ids, Heard(60, "hello hello,"), special, vocabulary)
    same = PERIOD * len(text_of(cut, special, vocabulary))
    assert same > PERIOD
    assert cut[:same] == ids[:same]


@pytest.mark.parametrize("beyond", [0, 1, 10**9])
def test_a_turn_that_was_heard_to_its_end_stays_as_it_was_produced(
    beyond, write, special, vocabulary, encode
):
    ids = [*write("hello", 30), special.tool_call_start, *encode("x"), special.tool_call_end]
    assert heard_ids(ids, Heard(30 + beyond, "he"), special, vocabulary) == ids


def test_all_sound_of_a_turn_whose_making_was_ended_does_not_say_all_of_its_text(
    write, special, vocabulary
):
    """The text runs ahead: what was made when the listener interrupted has more text than sound."""
    ids = write("hello hello, hello. he hell hello", 75)[: 6 * PERIOD]
    cut = heard_ids(ids, Heard(24, "hello"), special, vocabulary)
    require_pattern(cut, special, vocabulary)
    assert spell(text_of(cut, special, vocabulary), vocabulary) == "hello"
    assert len(audio_of(cut, special)) == 24


def test_nothing_heard_is_an_empty_turn(write, special, vocabulary):
    for audio_tokens in (0, -3):
        heard = Heard(audio_tokens, "")
        assert heard_ids(write("hello", 30), heard, special, vocabulary) == [special.tts_end]


def test_thoughts_unclosed_calls_and_text_that_was_not_spoken_are_no_part_of_a_cut(
    write, special, vocabulary, encode
):
    speech = write("hello hello", 40)
    body, aside = speech[:-1], encode("hell")
    thought = [special.think_start, *aside, special.think_end]
    unclosed = [special.tool_call_start, *aside]  # audio tokens end it
    for extra in (thought, unclosed):
        inside = [*body[: PERIOD + 1], *extra, *body[PERIOD + 1 :]]
        ids = [*inside, special.tts_end, *aside, special.tool_call_start, *aside]
        for count in range(40):
            heard = Heard(count, "hello hello hell hell")
            assert heard_ids(ids, heard, special, vocabulary) == heard_ids(
                speech, heard, special, vocabulary
            )


def test_calls_that_were_made_stay_behind_what_was_heard(write, special, vocabulary, encode):
    speech = write("hello hello", 40)
    calls = [special.tool_call_start, *encode("a"), special.tool_call_end]
    calls += [special.tool_call_start, *encode("b"), special.tool_call_end]
    heard = Heard(9, "hello")
    cut = heard_ids([*speech, *encode("he"), *calls], heard, special, vocabulary)
    assert cut == heard_ids(speech, heard, special, vocabulary) + calls


def test_an_answer_that_speaks_twice_is_cut_as_one(write, special, vocabulary):
    ids = [*write("hello", 10), special.tts_start, *write(" he", 10)]
    cut = heard_ids(ids, Heard(14, "hello he"), special, vocabulary)
    require_pattern(cut, special, vocabulary)
    assert spell(text_of(cut, special, vocabulary), vocabulary) == "hello he"
    assert audio_of(cut, special) == audio_of(ids, special)[:14]


def test_any_ids_are_cut_to_a_pattern_that_a_model_writes(special, vocabulary):
    chance = random.Random(3)
    marks = [*astuple(special), *range(20), *range(special.audio_first, special.audio_first + 20)]
    for _ in range(300):
        ids = [chance.choice(marks) for _ in range(chance.randrange(60))]
        heard = Heard(chance.randrange(5), "x" * chance.randrange(9))
        cut = heard_ids(ids, heard, special, vocabulary)
        if cut != ids:
            speech = cut[: cut.index(special.tts_end) + 1]
            require_pattern(speech, special, vocabulary)


def test_the_prompt_holds_an_interrupted_turn_as_it_was_heard(
    tokenizer, special, vocabulary, write
):
    builder = PromptBuilder(tokenizer, special)
    ids = tuple(write("hello hello", 40))

    def prompt(*parts):
        return builder.build([Message(Role.ASSISTANT, parts)], "text")

    cut = prompt(SpokenPart(ids, Heard(6, "hello")), ToolCall("f", "{}"))
    expected = heard_ids(ids, Heard(6, "hello"), special, vocabulary)
    start = cut.token_ids.index(special.tts_start) + 1
    assert cut.token_ids[start : start + len(expected)] == expected
    assert cut.token_ids[start + len(expected)] == special.tool_call_start
    assert cut.audio_tokens == 8  # with two of padding
    assert prompt(SpokenPart(ids)).audio_tokens == 40
