"""The Thinker's trial answers: with a cache and in a batch as without, drawn as vLLM draws."""

import pytest
import torch

from tests.nano.corpus.store import Corpus
from tests.nano.thinker_answers import Answerer, Sampling, draw
from tests.nano.thinker_batches import Ear, Tables
from tests.nano.thinker_examples import Examples, Task
from tests.nano.thinker_model import Thinker
from tests.unit.nano.chirps import CPU


@torch.inference_mode()
@pytest.mark.parametrize("task", [Task.TRANSCRIBE, Task.SPEAK])
def test_answers_with_a_cache_and_in_a_batch_are_those_without(
    examples: Examples, chirps: Corpus, model: Thinker, task: Task
) -> None:
    bank, sentences = chirps.speech_bank(CPU), [0, 4, 7]
    utterances = [3 * sentence for sentence in sentences] if task is Task.TRANSCRIBE else []
    plain = Sampling(repetition_penalty=1.0)
    options = {"sampling": plain, "max_tokens": 8}
    answers = Answerer(model, examples, bank).answer(task, sentences, utterances, **options)
    assert len({tuple(answer) for answer in answers}) == len(sentences)
    for row, sentence in enumerate(sentences):
        plan = examples.asked(task, [sentence], utterances[row : row + 1])
        batch = Tables(examples, CPU).batch(plan)
        embeddings = torch.zeros(0)
        if utterances:
            mels, frames = Ear(bank).hear(batch, roughly=False)
            embeddings = model.adapter(model.encoder(mels, frames))
        embedded = model.embed(batch, batch.token_ids, embeddings)[:, : int(batch.starts[0])]
        alone: list[int] = []
        for _ in range(8):
            token = model.language.lm_head(model.decode(embedded)[:, -1]).argmax(-1)
            alone.append(int(token))
            embedded = torch.cat([embedded, model.language.model.embed_tokens(token[None])], 1)
        assert answers[row] == alone


def test_drawing_keeps_to_the_likeliest_and_to_the_penalty() -> None:
    logits = torch.tensor([[2.0, 1.9, -1.0, -9.0]]).repeat(500, 1)
    seen = torch.zeros_like(logits, dtype=torch.bool)
    assert draw(logits, seen, Sampling()).unique().tolist() == [0]
    seen[:, 0] = True
    assert draw(logits, seen, Sampling(repetition_penalty=1.1)).unique().tolist() == [1]
    torch.manual_seed(0)
    some = Sampling(temperature=1.0, top_p=0.9, repetition_penalty=1.0)
    assert draw(logits, seen, some).unique().tolist() == [0, 1]
