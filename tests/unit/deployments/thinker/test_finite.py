import pytest
import torch

from deployments.thinker.vllm_plugin.finite import mark_non_finite

MARKER = 3
BROKEN = (float("nan"), float("inf"), float("-inf"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("value", BROKEN)
def test_only_a_row_that_is_not_finite_answers_the_marker(dtype, value):
    logits = torch.randn(4, 10, dtype=torch.float32).to(dtype)
    logits[2, 7] = value
    healthy = logits[[0, 1, 3]].clone()
    marked = mark_non_finite(logits, MARKER)
    assert marked[2].argmax() == MARKER
    assert torch.softmax(marked[2].float(), -1)[MARKER] == 1
    others = [i for i in range(10) if i != MARKER]
    assert torch.equal(marked[[0, 1, 3]][:, others], healthy[:, others])


def test_a_healthy_row_never_answers_the_marker():
    logits = torch.zeros(2, 10)
    logits[:, MARKER] = 50.0
    assert torch.softmax(mark_non_finite(logits, MARKER), -1)[:, MARKER].tolist() == [0, 0]


def test_large_logits_are_finite():
    logits = torch.full((1, 160_000), 6e4, dtype=torch.float16)
    assert mark_non_finite(logits, MARKER).argmax() != MARKER
