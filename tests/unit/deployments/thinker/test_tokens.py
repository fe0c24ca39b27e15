import random

import pytest
from tokenizers import Tokenizer

from deployments.errors import ConfigError
from deployments.messages import ToolCall
from deployments.thinker.tokens import (
    Mode,
    OutputSplitter,
    SpecialTokens,
    Split,
    StopStrings,
    TextDecoder,
    TextVocabulary,
)


class Vocabulary:
    def __init__(self, ids: dict[str, int]) -> None:
        self.ids = ids

    def get_vocab(self) -> dict[str, int]:
        return self.ids


@pytest.fixture
def encode(tokenizer: Tokenizer):
    return lambda text: tokenizer.encode(text, add_special_tokens=False).ids


def test_every_id_is_read_by_name(tokenizer: Tokenizer, special: SpecialTokens):
    assert special.turn_end == tokenizer.token_to_id("<|EOT|>")
    assert special.audio_first == tokenizer.token_to_id("<audio_0>")
    assert special.audio_pad == tokenizer.token_to_id("<audio_6561>")


def test_a_tokenizer_without_a_needed_token_is_refused_by_its_name(tokenizer: Tokenizer):
    ids = tokenizer.get_vocab()
    del ids["<tts_start>"]
    with pytest.raises(ConfigError, match="<tts_start>"):
        SpecialTokens.from_tokenizer(Vocabulary(ids))


def test_scattered_audio_tokens_are_refused(tokenizer: Tokenizer):
    ids = tokenizer.get_vocab() | {"<audio_6561>": 10**6}
    with pytest.raises(ConfigError, match="consecutive"):
        SpecialTokens.from_tokenizer(Vocabulary(ids))


def test_speech_is_split_into_its_text_and_its_codes_without_padding(
    special: SpecialTokens, vocabulary: TextVocabulary, encode
):
    splitter = OutputSplitter(special, vocabulary, Mode.SPEECH)
    code = special.audio_first
    ids = [*encode("hello"), code, code + 1, code + 2, code + 6560, special.tts_pad, code + 9]
    ids += [special.audio_pad, special.tts_end, *encode(" bye")]
    assert splitter.push(ids) == Split(text="hello bye", audio_tokens=[0, 1, 2, 6560, 9])
    assert not splitter.speaking


def test_tts_start_opens_speech_in_a_text_reply(special, vocabulary, encode):
    splitter = OutputSplitter(special, vocabulary)
    split = splitter.push([special.audio_first, special.tts_start, special.audio_first + 5])
    assert split.audio_tokens == [5]  # the one before it was not speech
    assert splitter.speaking


def test_a_tool_call_is_read_however_it_is_cut(special, vocabulary, encode):
    call = 'function\nget_weather\n{"city": "Zürich"}'
    ids = [*encode("ok"), special.tool_call_start, *encode(call), special.tool_call_end]
    splitter = OutputSplitter(special, vocabulary)
    splits = [splitter.push([token_id]) for token_id in ids]
    calls = [call for split in splits for call in split.tool_calls]
    assert calls == [ToolCall("get_weather", '{"city": "Zürich"}')]
    assert "".join(split.text for split in splits) == "ok"


@pytest.mark.parametrize("content", ["", "function", "function\n", "table\nname\n{}", "{}"])
def test_what_is_no_call_is_dropped(content, special, vocabulary, encode):
    splitter = OutputSplitter(special, vocabulary)
    ids = [special.tool_call_start, *encode(content), special.tool_call_end, *encode("on")]
    assert splitter.push(ids) == Split(text="on")


def test_thoughts_are_not_text(special, vocabulary, encode):
    splitter = OutputSplitter(special, vocabulary)
    split = splitter.push([special.think_start, *encode("hm"), special.think_end, *encode("yes")])
    assert split == Split(text="yes", reasoning="hm")


def test_an_audio_token_ends_a_call_that_speech_never_closed(special, vocabulary, encode):
    splitter = OutputSplitter(special, vocabulary, Mode.SPEECH)
    code = special.audio_first
    split = splitter.push([special.tool_call_start, *encode("x"), code + 1, *encode("y"), code + 2])
    assert split == Split(text="y", audio_tokens=[1, 2])


def test_text_is_never_half_a_character_and_equals_the_tokenizers_own(tokenizer, vocabulary):
    text = "héllo, 你好 🙂‍↔️ — ok"
    decoder = TextDecoder(vocabulary)
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    pieces = [decoder.push(token_id) for token_id in ids]
    assert "".join(pieces) == text == tokenizer.decode(ids)
    assert not any("\ufffd" in piece for piece in pieces)
    assert "" in pieces  # something was indeed held back


def test_half_a_character_at_the_end_is_not_sent(tokenizer, special, vocabulary):
    splitter = OutputSplitter(special, vocabulary)
    ids = tokenizer.encode("a你", add_special_tokens=False).ids
    assert splitter.push(ids[:-1]) == Split(text="a")


def test_random_ids_never_leak_a_special_token_into_the_text(tokenizer, special, vocabulary):
    draw = random.Random(0)
    for start in (Mode.TEXT, Mode.SPEECH):
        splitter = OutputSplitter(special, vocabulary, start)
        for _ in range(500):
            ids = [draw.randrange(tokenizer.get_vocab_size() + 100) for _ in range(10)]
            ids += draw.choices(list(special_ids(special)), k=4)
            draw.shuffle(ids)
            split = splitter.push(ids)
            assert all(0 <= code < 6561 for code in split.audio_tokens)
            for name in ("<|", "audio", "tts", "tool", "think"):
                assert name not in split.text + split.reasoning


def test_invalid_bytes_equal_what_the_tokenizer_decodes(tokenizer, vocabulary):
    draw = random.Random(1)
    ids = [draw.randrange(256) for _ in range(400)] + tokenizer.encode("z").ids
    decoder = TextDecoder(vocabulary)
    assert "".join(decoder.push(token_id) for token_id in ids) == tokenizer.decode(ids)


def test_stop_strings_end_the_text_before_them_however_it_is_cut():
    for cut in range(1, 8):
        stops = StopStrings(("END", "###"))
        text = "one EN two E END three"
        pieces = [text[i : i + cut] for i in range(0, len(text), cut)]
        assert "".join(stops.push(piece) for piece in pieces) == "one EN two E "
        assert stops.found


def test_what_only_looked_like_a_stop_string_is_given_back_at_the_end():
    stops = StopStrings(("END",))
    assert stops.push("the EN") == "the "
    assert stops.flush() == "EN"
    assert not stops.found


def special_ids(special: SpecialTokens) -> set[int]:
    return {getattr(special, name) for name in SpecialTokens.__slots__}
