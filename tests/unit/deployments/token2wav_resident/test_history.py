"""Addresses of a stream's frames, against the official rule on plain lists."""

import random

import numpy as np
import pytest

from deployments.token2wav.resident.block_history import FrameHistory, PromptLayout, TokenHistory

TAIL = 100


def valid_addresses(history: FrameHistory) -> list[int]:
    return [*range(history.head), *range(history.tail_begin, history.own_end)]


@pytest.mark.parametrize("prompt", [2, 50, 99, 100, 130, 450, 640])
@pytest.mark.parametrize("seed", range(4))
def test_addresses_hold_what_the_official_rule_keeps(prompt: int, seed: int) -> None:
    draw = random.Random(seed)
    layout = PromptLayout.of(prompt, kept_tail=TAIL, block=64)
    history = FrameHistory(layout, kept_tail=TAIL)
    # a memory of frame names, written as the GPU would, and the official list of names
    memory = dict(zip(layout.addresses().tolist(), range(prompt), strict=True))
    official = list(range(prompt))
    name = prompt
    for _ in range(40):
        count = draw.choice([2, 20, 40, 50, 54])
        assert history.frames == len(official)
        new = list(range(name, name + count))
        name += count
        for address, frame in zip(history.append(count).tolist(), new, strict=True):
            if address >= 0:
                assert address >= layout.end  # a prompt's blocks are never written
                memory[address] = frame
        official = new + official
        if len(official) > prompt + TAIL:
            official = official[:prompt] + official[-TAIL:]
        kept = [memory[address] for address in valid_addresses(history)]
        assert sorted(kept) == sorted(official)
    assert history.own <= FrameHistory.own_capacity(prompt, kept_tail=TAIL)


def test_a_token_history_keeps_the_newest_and_reuses_its_blocks() -> None:
    history = TokenHistory(prompt_tokens=5, own_blocks=[7, 3, 9], block=4)
    memory: dict[int, int] = {}
    for start in range(0, 60, 3):
        for address, token in zip(history.append(3).tolist(), range(start, start + 3), strict=True):
            memory[address] = token
        kept = [memory[history.blocks[at // 4] * 4 + at % 4] for at in range(history.own)]
        assert kept == list(range(start + 3 - history.own, start + 3))
        assert min(start + 3, 8) <= history.own <= 12
    assert sorted(history.blocks.tolist()) == [3, 7, 9]


def test_a_chunk_longer_than_the_token_history_is_refused() -> None:
    with pytest.raises(ValueError, match="13 tokens"):
        TokenHistory(0, [1, 2, 3], block=4).append(13)


def test_a_prompt_keeps_its_tail_at_the_end_of_its_blocks() -> None:
    layout = PromptLayout.of(130, kept_tail=TAIL, block=64)
    addresses = layout.addresses()
    assert (layout.blocks, layout.end) == (3, 192)
    assert np.array_equal(addresses, [*range(30), *range(92, 192)])
