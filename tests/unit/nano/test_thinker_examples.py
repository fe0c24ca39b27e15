"""The Thinker's answers are the corpus's sentences and sounds, drawn in the tasks' shares."""

import numpy as np
import pytest

from deployments.thinker.tokens import Mode, OutputSplitter, TextVocabulary
from tests.nano.corpus.store import Corpus, Utterance
from tests.nano.flat import Flat
from tests.nano.thinker_examples import Examples
from tests.unit.nano.chirps import SENTENCES, TOKENIZER


@pytest.mark.parametrize("count", [1, 3, 4, 61, 120])  # fewer and more codes than the text needs
def test_a_spoken_answer_splits_back_into_its_text_and_codes(
    examples: Examples, count: int
) -> None:
    text, codes = "The cat sat on the table.", list(range(count))
    answer = examples.writer.spoken(text, codes)
    assert answer[-1] == examples.writer.special.turn_end
    split = OutputSplitter(examples.writer.special, TextVocabulary(TOKENIZER), Mode.SPEECH)
    parts = split.push(answer[:-1])
    assert (parts.text, parts.audio_tokens) == (text, codes)
    is_code = [examples.writer.special.is_audio(token) for token in answer[:-2]]
    assert is_code == [False, True, True, True, True] * (len(is_code) // 5)


def test_answers_are_the_sentence_and_its_standard_rendition(
    examples: Examples, chirps: Corpus, chirp_codes: Flat
) -> None:
    vocabulary = TextVocabulary(TOKENIZER)
    for sentence in (0, 3):
        splitter = OutputSplitter(examples.writer.special, vocabulary, Mode.SPEECH)
        rendition = examples.renditions[sentence]
        assert chirps.utterances[rendition] == Utterance(sentence, 0, "standard", 170, 50)
        answer = examples.answers[len(examples.sentences) + sentence]
        parts = splitter.push(answer[:-1].tolist())
        assert parts.text == chirps.sentences[sentence]
        assert parts.audio_tokens == chirp_codes[rendition].tolist()


def test_sentences_that_are_left_out_are_in_no_batch(examples: Examples, chirps: Corpus) -> None:
    seen = set()
    for seed in range(20):
        plan = examples.draw(np.random.default_rng(seed), 40)
        seen |= {chirps.utterances[index].sentence for index in plan.utterances}
    assert seen == set(range(SENTENCES - 2))


def test_a_task_has_its_share_of_every_batch(examples: Examples) -> None:
    for seed in range(3):
        counts = np.bincount(examples.draw(np.random.default_rng(seed), 100).tasks)
        assert counts.tolist() == [35, 20, 3, 35, 4, 3]
