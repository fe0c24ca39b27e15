"""Nano's text tokenizer: few tokens for its own sentences, and some for any other text."""

import pytest

from deployments.thinker import tasks
from serve_app.checkpoint.tokenizer import make_tokenizer
from tests.nano.corpus.sentences import VOCABULARY, training_sentences
from tests.nano.text_tokenizer import nano_vocabulary

TOKENIZER = make_tokenizer(nano_vocabulary())


def test_every_word_behind_a_space_is_one_token() -> None:
    for word in sorted(VOCABULARY):
        assert len(TOKENIZER.encode(f" {word}", add_special_tokens=False).ids) == 1, word


def test_beginnings_of_the_grammars_sentences_are_one_token() -> None:
    for sentence in training_sentences(500, seed=9, salad_share=0.0):
        beginning = sentence.split()[0].rstrip(",.?")
        for written in (beginning, beginning.lower()):
            assert len(TOKENIZER.encode(written, add_special_tokens=False).ids) == 1, written


def test_the_text_vocabulary_is_small_and_always_the_same() -> None:
    vocabulary = nano_vocabulary()
    assert len(vocabulary.text) < 2300 and vocabulary.size % 64 == 0
    assert nano_vocabulary.__wrapped__() == vocabulary


@pytest.mark.parametrize("text", ["Zebras quarrel, 42 times!", "请记录下", "a\n\n b\t🎧 é?"])
def test_any_text_comes_back(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER.encode(text, add_special_tokens=False).ids) == text


def test_task_prompts_are_few_tokens() -> None:
    for prompt in (tasks.TRANSCRIBE, tasks.SPEAK):
        assert len(TOKENIZER.encode(prompt, add_special_tokens=False).ids) <= 3
