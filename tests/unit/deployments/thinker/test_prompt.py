import numpy as np
import pytest
from tokenizers import Tokenizer

from deployments.errors import AudioUnreadable, PromptTooLong, SpokenTurnInvalid
from deployments.messages import AudioPart, Message, Role, SpokenPart, TextPart, ToolCall
from deployments.thinker.prompt import PromptBuilder
from deployments.thinker.tokens import NAMES, SpecialTokens
from deployments.thinker.vllm_plugin.lengths import placeholder_tokens


@pytest.fixture
def builder(tokenizer: Tokenizer, special: SpecialTokens) -> PromptBuilder:
    return PromptBuilder(tokenizer, special)


@pytest.fixture
def spell(tokenizer: Tokenizer):
    return lambda ids: tokenizer.decode(ids, skip_special_tokens=False)


def say(role: Role, *parts) -> Message:
    return Message(role, tuple(TextPart(p) if isinstance(p, str) else p for p in parts))


def test_every_role_is_written_in_the_models_template(builder, spell):
    messages = [
        say(Role.SYSTEM, "be kind"),
        say(Role.TOOL_SCHEMAS, '[{"name": "now"}]'),
        say(Role.HUMAN, "time?"),
        say(Role.ASSISTANT, "wait", ToolCall("now", "{}")),
        say(Role.TOOL_RESULT, "noon"),
        say(Role.ASSISTANT, "It is noon."),
        say(Role.HUMAN, "thanks"),
    ]
    prompt = builder.build(messages, "text")
    assert spell(prompt.token_ids) == (
        "<|BOT|>system\nbe kind<|EOT|>"
        '<|BOT|>tool_json_schemas\n[{"name": "now"}]<|EOT|>'
        "<|BOT|>human\ntime?<|EOT|>"
        "<|BOT|>assistant\nwait<tool_call>function\nnow\n{}</tool_call><|EOT|>"
        "<|BOT|>input\nnoon<|EOT|>"
        "<|BOT|>assistant\nIt is noon.<|EOT|>"
        "<|BOT|>human\nthanks<|EOT|>"
        "<|BOT|>assistant\n"
    )
    assert prompt.audio_pieces == []
    assert prompt.length == len(prompt.token_ids)


def test_a_spoken_reply_starts_with_tts_start(builder, spell):
    prompt = builder.build([say(Role.HUMAN, "hi")], "speech")
    assert spell(prompt.token_ids).endswith("<|BOT|>assistant\n<tts_start>")


def test_a_prompt_is_tokenised_as_the_whole_text_would_be(builder, tokenizer):
    messages = [say(Role.SYSTEM, "\nhello"), say(Role.HUMAN, "he", "llo")]
    whole = "<|BOT|>system\n\nhello<|EOT|><|BOT|>human\nhello<|EOT|><|BOT|>assistant\n"
    expected = tokenizer.encode(whole, add_special_tokens=False).ids
    assert builder.build(messages, "text").token_ids == expected


@pytest.mark.parametrize("name", [*NAMES.values(), "<audio_77>", "<|endoftext|>"])
def test_a_callers_text_cannot_hold_a_special_token(name, builder, tokenizer):
    text = f"hi {name}\n{name}{name}"
    for message in (say(Role.HUMAN, text), say(Role.ASSISTANT, ToolCall(text, text))):
        innocent = Message(message.role, (TextPart("hi"),))
        added = set(tokenizer.get_added_tokens_decoder())
        marks = [t for t in builder.build([message], "text").token_ids if t in added]
        plain = [t for t in builder.build([innocent], "text").token_ids if t in added]
        calls = [t for t in marks if t not in plain]
        allowed = {"<tool_call>", "</tool_call>"} if message.role is Role.ASSISTANT else set()
        assert {tokenizer.id_to_token(t) for t in calls} == allowed
        assert len(marks) == len(plain) + len(allowed)


def test_a_spoken_turn_goes_back_as_the_ids_that_were_produced(builder, special, spell):
    ids = (special.audio_first + 3, special.tts_pad, special.audio_pad, special.tts_end)
    messages = [say(Role.ASSISTANT, SpokenPart(ids)), say(Role.HUMAN, "and?")]
    assert spell(builder.build(messages, "text").token_ids).startswith(
        "<|BOT|>assistant\n<tts_start><audio_3><tts_pad><audio_6561><tts_end><|EOT|>"
    )


def test_a_spoken_turn_cannot_end_itself_or_pose_as_audio_input(builder, special):
    ids = (special.turn_end, special.audio_patch, special.turn_start, special.audio_first)
    spoken = builder.build([say(Role.ASSISTANT, SpokenPart(ids))], "text").token_ids
    honest = builder.build([say(Role.ASSISTANT, SpokenPart(ids[-1:]))], "text").token_ids
    assert spoken == honest


def test_a_recording_is_cut_into_pieces_of_25_s_with_one_patch_each(builder, special):
    samples = np.arange(16_000 * 60, dtype=np.float64)
    prompt = builder.build([say(Role.HUMAN, AudioPart(samples), "what is it?")], "text")
    assert [len(piece) for piece in prompt.audio_pieces] == [400_000, 400_000, 160_000]
    assert all(piece.dtype == np.float32 for piece in prompt.audio_pieces)
    assert np.array_equal(np.concatenate(prompt.audio_pieces), samples.astype(np.float32))
    assert prompt.token_ids.count(special.audio_patch) == 3
    assert prompt.length == len(prompt.token_ids) - 3 + 315 + 315 + 127


def test_a_last_scrap_of_a_recording_is_padded_to_what_can_be_encoded(builder):
    samples = np.ones(400_001, dtype=np.float32)
    pieces = builder.build([say(Role.HUMAN, AudioPart(samples))], "text").audio_pieces
    assert [len(piece) for piece in pieces] == [400_000, 400]
    assert pieces[1].sum() == 1


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_recording_that_is_not_finite_is_refused(builder, value):
    with pytest.raises(AudioUnreadable):
        builder.build([say(Role.HUMAN, AudioPart(np.array([0.0, value])))], "text")


def test_a_recording_without_samples_is_refused(builder):
    with pytest.raises(AudioUnreadable):
        builder.build([say(Role.HUMAN, AudioPart(np.zeros(0)))], "text")


def test_a_think_checkpoint_thinks_first_and_then_speaks(tokenizer, special, spell):
    builder = PromptBuilder(tokenizer, special, think=True)
    prompt = builder.build([say(Role.HUMAN, "hi")], "speech")
    start = "<|BOT|>human\nhi<|EOT|><|BOT|>assistant\n\n<think>\n"
    assert spell(prompt.token_ids) == start
    thought = tokenizer.encode("hello").ids
    answer = builder.after_thought(prompt, thought, "speech")
    assert spell(answer.token_ids) == start + "hello</think>\n\n<tts_start>"
    assert spell(builder.after_thought(prompt, [], "text").token_ids) == start + "</think>\n\n"


def test_sound_in_a_prompt_is_counted_heard_or_spoken_before(builder, special):
    spoken = (special.tts_pad, special.audio_first, special.audio_pad, special.tts_end)
    heard = AudioPart(np.ones(16_000, dtype=np.float32))
    prompt = builder.build(
        [say(Role.ASSISTANT, SpokenPart(spoken)), say(Role.HUMAN, heard)], "text"
    )
    silent = builder.build([say(Role.ASSISTANT, "hi"), say(Role.HUMAN, "there")], "text")
    assert prompt.audio_tokens == placeholder_tokens(16_000) + 2
    assert silent.audio_tokens == 0


def test_a_spoken_turn_of_a_larger_vocabulary_is_refused(builder, tokenizer):
    last = max(tokenizer.get_vocab().values())
    builder.build([say(Role.ASSISTANT, SpokenPart((last,)))], "text")
    with pytest.raises(SpokenTurnInvalid, match="another model") as refused:
        builder.build([say(Role.ASSISTANT, SpokenPart((0, last + 1)))], "text")
    assert refused.value.param == "messages"


@pytest.mark.parametrize(("name", "opened"), [(None, ""), ("now", "now\n")])
def test_a_call_that_has_to_be_made_is_begun(builder, spell, name, opened):
    prompt = builder.build([say(Role.HUMAN, "time?")], "text")
    begun = builder.calling(prompt, name)
    assert spell(begun.token_ids) == spell(prompt.token_ids) + f"<tool_call>function\n{opened}"


class CountingTokenizer:
    """Notes how many characters it is asked to encode."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.characters = 0

    def encode(self, text: str, add_special_tokens: bool):
        self.characters += len(text)
        return self._tokenizer.encode(text, add_special_tokens=add_special_tokens)


@pytest.fixture
def counting(builder: PromptBuilder) -> CountingTokenizer:
    builder._plain = counting = CountingTokenizer(builder._plain)
    return counting


MOST = 100
HUGE = 10_000_000


@pytest.mark.parametrize(
    "messages",
    [
        [say(Role.HUMAN, "open the window " * (HUGE // 16))],
        [say(Role.HUMAN, "x" * HUGE)],
        [say(Role.HUMAN, " " * HUGE)],
        [say(Role.HUMAN, "é\u0301" * (HUGE // 2))],
        [say(Role.HUMAN, "hi", "there " * (HUGE // 6)), say(Role.HUMAN, "yes")],
        [say(Role.TOOL_SCHEMAS, "[1, " * (HUGE // 4)), say(Role.HUMAN, "yes")],
        [say(Role.ASSISTANT, ToolCall("f", "a b " * (HUGE // 4))), say(Role.HUMAN, "yes")],
        [say(Role.HUMAN, "ten words or so in each of very many turns")] * (HUGE // 1000),
    ],
    ids=["words", "a word", "spaces", "combined", "a part", "schemas", "a call", "turns"],
)
def test_text_far_beyond_the_context_is_refused_before_it_is_encoded(builder, counting, messages):
    with pytest.raises(PromptTooLong):
        builder.build(messages, "text", MOST)
    assert counting.characters < HUGE / 100


@pytest.mark.parametrize("text", ["hi " * 40, "x" * 90, " " * 3000, "-" * 2000, "hi"])
def test_a_text_is_encoded_whole_where_it_may_fit(builder, text):
    messages = [say(Role.HUMAN, text)]
    whole = builder.build(messages, "text")
    assert builder.build(messages, "text", whole.length).token_ids == whole.token_ids
