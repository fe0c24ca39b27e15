"""The tokenizer loads as any other and knows every token of the family by name."""

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from deployments.thinker.tokens import NAMES, SpecialTokens
from serve_app.checkpoint.vocabulary import published_vocabulary, small_vocabulary
from tests.unit.serve_app.checkpoint.conftest import Made


@pytest.fixture(scope="module")
def tokenizer(tiny: Made) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(tiny.root)


def test_special_tokens_are_found_by_name(tokenizer: PreTrainedTokenizerBase) -> None:
    tokens = SpecialTokens.from_tokenizer(tokenizer)
    assert tokens.audio_pad - tokens.audio_first == 6561


def test_ids_are_those_of_the_vocabulary(tokenizer: PreTrainedTokenizerBase) -> None:
    assert tokenizer.get_vocab() == small_vocabulary().ids


@pytest.mark.parametrize("name", [*NAMES.values(), "<|endoftext|>", "<audio_6560>"])
def test_each_special_token_is_one_id_in_text(
    tokenizer: PreTrainedTokenizerBase, name: str
) -> None:
    ids = tokenizer(f"a{name}b", add_special_tokens=False).input_ids
    assert ids[1:-1] == [tokenizer.get_vocab()[name]] and len(ids) == 3


@pytest.mark.parametrize(
    "text", ["Hello there, I'm 42!", "请仔细聆听这段语音。", "a\n\n b\t🎧 ¿é?"]
)
def test_any_text_survives_the_round_trip(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    ids = tokenizer(text, add_special_tokens=False).input_ids
    assert tokenizer.decode(ids) == text


def test_syllables_are_merged(tokenizer: PreTrainedTokenizerBase) -> None:
    assert len(tokenizer("bado bado", add_special_tokens=False).input_ids) == 4


def test_chat_markers_end_a_turn(tokenizer: PreTrainedTokenizerBase) -> None:
    assert tokenizer.eos_token == "<|EOT|>"


def test_published_vocabulary_has_the_published_ids() -> None:
    vocabulary = published_vocabulary()
    published = {
        "<|endoftext|>": 151643,
        "<|im_end|>": 151645,
        "<audio_start>": 151688,
        "<audio_end>": 151689,
        "<audio_patch>": 151690,
        "<tts_start>": 151693,
        "<tts_end>": 151694,
        "<audio_0>": 151696,
        "<audio_6560>": 158256,
        "<audio_6561>": 158257,
    }
    assert {name: vocabulary.ids[name] for name in published} == published
    assert vocabulary.eos_token_ids == [151643, 151645, 151665]
    assert vocabulary.size == 158720
    assert set(NAMES.values()) <= set(vocabulary.ids)


def test_every_published_id_up_to_the_last_token_is_used_once() -> None:
    vocabulary = published_vocabulary()
    assert sorted(vocabulary.ids.values()) == list(range(158258))
