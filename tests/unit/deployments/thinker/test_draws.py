"""What is drawn with a seed depends on the seed and the position alone."""

from types import SimpleNamespace
from typing import Any

import torch

from deployments.thinker.vllm_plugin.draws import place_generators


def batch(*rows: tuple[int, int]) -> Any:
    """As much of vLLM's `InputBatch` as is needed: the seed of each row, and its tokens so far."""
    generators = {row: torch.Generator().manual_seed(seed) for row, (seed, _) in enumerate(rows)}
    return SimpleNamespace(generators=generators, num_tokens_no_spec=[tokens for _, tokens in rows])


def draws(placed: Any) -> list[int]:
    place_generators(placed)
    rows = range(len(placed.generators))
    return [int(torch.randint(0, 2**31, (1,), generator=placed.generators[row])) for row in rows]


def test_rows_draw_by_their_seeds_and_positions():
    first = draws(batch((1, 10), (1, 11), (2, 10)))
    assert len(set(first)) == 3
    assert draws(batch((2, 10), (1, 11))) == [first[2], first[1]]


def test_a_row_that_was_drawn_before_draws_as_one_that_begins_there():
    goes_on = batch((7, 10))
    for tokens in range(10, 20):
        goes_on.num_tokens_no_spec[0] = tokens
        assert draws(goes_on) == draws(batch((7, tokens)))


def test_a_row_that_is_computed_again_draws_the_same():
    again = batch((7, 10))
    assert draws(again) == draws(again)


def test_a_generator_can_be_wound_back():
    placed = batch((7, 10))
    place_generators(placed)
    placed.generators[0].set_offset(placed.generators[0].get_offset() - 4)
    assert draws(placed) == draws(batch((7, 10)))
