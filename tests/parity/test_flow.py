"""Our flow against the official one: same weights, same noise, ≤ 1e-4."""

from typing import NamedTuple

import pytest
import torch

from deployments.token2wav.functional import (
    DiTConfig,
    EncoderConfig,
    Flow,
    FlowConfig,
    FlowInput,
    FlowSynthesizer,
)
from tests.parity.official import (
    STEPS,
    official_flow,
    random_flow,
    trimmed,
    uncompiled,
)

TINY = FlowConfig(
    input_size=64,
    encoder=EncoderConfig(
        input_size=64,
        output_size=64,
        num_blocks=2,
        num_up_blocks=1,
        attention_heads=2,
        linear_units=128,
    ),
    dit=DiTConfig(mlp_ratio=2.0, depth=2, num_heads=1, head_dim=64, hidden_size=64),
)
FULL = FlowConfig()
TOLERANCE = 1e-4
SEED = 1


class Prompt(NamedTuple):
    codes: torch.Tensor
    embedding: torch.Tensor
    mel: torch.Tensor


def make_prompt(codes: int, seed: int = 3) -> Prompt:
    generator = torch.Generator().manual_seed(seed)
    return Prompt(
        torch.randint(0, 6561, (codes,), generator=generator),
        torch.randn(192, generator=generator),
        torch.randn(2 * codes, 80, generator=generator),
    )


def make_tokens(count: int, seed: int = 4) -> torch.Tensor:
    return torch.randint(0, 6561, (count,), generator=torch.Generator().manual_seed(seed))


def compare_stream(flow: Flow, prompt: Prompt, sizes: list[int]) -> tuple[float, int]:
    """Largest difference over a stream of chunks, and how often the history was trimmed."""
    oracle = official_flow(flow, SEED)
    ours = FlowSynthesizer(flow, seed=SEED)
    tokens = make_tokens(sum(sizes))
    state = ours.prepare(*prompt)
    worst, begin, trims = 0.0, 0, 0
    with uncompiled():
        cache = oracle.setup_cache(
            torch.cat((prompt.codes, prompt.codes[:3]))[None],
            prompt.mel[None],
            prompt.embedding[None],
            n_timesteps=STEPS,
        )
        for index, size in enumerate(sizes):
            last = index == len(sizes) - 1
            chunk = tokens[begin : begin + size + (0 if last else 3)]
            expected, cache = oracle.inference_chunk(
                chunk[None], prompt.embedding[None], cache, last_chunk=last, n_timesteps=STEPS
            )
            before = cache["estimator_att_cache"].shape[4]
            cache = trimmed(cache, len(prompt.mel))
            trims += cache["estimator_att_cache"].shape[4] < before
            mels, states = ours.step([FlowInput(chunk, last, state)])
            state = states[0]
            assert mels[0].shape == (2 * size, 80)
            worst = max(worst, float((mels[0] - expected[0].T).abs().max()))
            assert expected.abs().max() > 0.1, "the signal vanished: nothing was compared"
            begin += size
    return worst, trims


def compare_whole(flow: Flow, prompt: Prompt, count: int) -> float:
    oracle = official_flow(flow, SEED)
    tokens = make_tokens(count)
    codes, embedding, mel = (value[None] for value in prompt)
    lengths = [torch.tensor([n]) for n in (count, codes.shape[1], mel.shape[1])]
    expected = oracle.inference(
        tokens[None], lengths[0], codes, lengths[1], mel, lengths[2], embedding, STEPS
    )
    actual = FlowSynthesizer(flow, seed=SEED).whole(tokens, *prompt)
    assert actual.shape == (2 * count, 80)
    assert expected.abs().max() > 0.1
    return float((actual - expected[0].T).abs().max())


@pytest.fixture(scope="module")
def tiny() -> Flow:
    return random_flow(TINY)


@pytest.mark.parametrize("prompt_codes", [30, 60, 230])
def test_a_stream_of_15_chunks_equals_the_official_one_past_trimming(
    tiny: Flow, prompt_codes: int
) -> None:
    sizes = [10, 20, *[25] * 12, 7]
    worst, trims = compare_stream(tiny, make_prompt(prompt_codes), sizes)
    assert trims >= 10
    assert worst <= TOLERANCE


def test_chunks_of_changing_size_equal_the_official_ones(tiny: Flow) -> None:
    worst, _ = compare_stream(tiny, make_prompt(40), [2, 5, 40, 3, 12, 31, 4, 9, 25, 2, 60, 17, 3])
    assert worst <= TOLERANCE


@pytest.mark.parametrize("count", [1, 2, 50, 301])
def test_a_whole_synthesis_equals_the_official_one(tiny: Flow, count: int) -> None:
    assert compare_whole(tiny, make_prompt(45), count) <= TOLERANCE


def test_in_published_dimensions_stream_and_whole_equal_the_official_ones() -> None:
    flow = random_flow(FULL)
    prompt = make_prompt(8)
    worst, trims = compare_stream(flow, prompt, [18, 18, 18, *[3] * 9])
    assert trims >= 10
    assert worst <= TOLERANCE
    assert compare_whole(flow, prompt, 10) <= TOLERANCE
