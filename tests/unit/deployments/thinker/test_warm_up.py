"""What a GPU is warmed up with."""

import itertools

import pytest

from deployments.thinker import warm_up
from deployments.thinker.prompt import PromptBuilder


@pytest.fixture
def prompts(tokenizer, special) -> PromptBuilder:
    return PromptBuilder(tokenizer, special)


def test_batches_of_every_size_begin_together_with_and_without_a_seed(prompts):
    first, second, *_ = warm_up.batches(prompts, rows=128, longest=4096)
    for batch, seed in ((first, None), (second, 0)):
        assert [exercise.tokens for exercise in batch] == list(range(1, warm_up.ROWS + 1))
        assert {exercise.sampling.seed for exercise in batch} == {seed}
    assert len(next(warm_up.batches(prompts, rows=16, longest=4096))) == 16


def test_prompts_grow_to_the_longest_and_share_no_beginning(prompts):
    _, _, *rest = warm_up.batches(prompts, rows=1, longest=4096)
    texts = [batch[0].prompt for batch in rest if not batch[0].prompt.audio_pieces]
    lengths = [prompt.length for prompt in texts]
    assert lengths[-1] == 4096
    assert lengths[0] < 300
    assert all(1 < b / a < 1.3 for a, b in itertools.pairwise(lengths))
    assert len({prompt.token_ids[0] for prompt in texts}) == len(texts)


def test_no_prompt_is_longer_than_a_step(prompts):
    recordings = 0
    for batch in warm_up.batches(prompts, rows=4, longest=300):
        recordings += sum(bool(exercise.prompt.audio_pieces) for exercise in batch)
        assert all(exercise.prompt.length <= 300 for exercise in batch)
    assert 0 < recordings < len(warm_up.RECORDINGS_S) * (1 + warm_up.RECORDINGS_AT_ONCE)
