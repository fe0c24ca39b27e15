"""Seeded random tensors that keep the signal's scale from layer to layer."""

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Rule:
    """Values of the tensors with matching names: `mean` + `gain` x their usual spread."""

    pattern: str
    gain: float = 1.0
    mean: float | None = None  # None: 1 for the weights of norms, 0 for all else


def random_tensor(
    name: str,
    shape: Sequence[int],
    *,
    seed: int,
    rules: Sequence[Rule] = (),
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """The values of one parameter, which depend on `seed`, its name and its shape alone.

    The usual spread is 1/√fan_in for matrices and kernels, which keeps the variance of a layer's
    output at that of its input, and 0.05 for biases and the weights of norms. The first
    matching rule scales and shifts it.
    """
    rule = next((rule for rule in rules if re.search(rule.pattern, name)), Rule(""))
    is_scale = len(shape) == 1 and not name.endswith("bias")
    spread = 0.05 if len(shape) == 1 else 1.0 / math.sqrt(math.prod(shape[1:]))
    mean = float(is_scale) if rule.mean is None else rule.mean
    values = torch.empty(tuple(shape), dtype=dtype)
    return values.normal_(mean, rule.gain * spread, generator=_generator(seed, name))


def random_state_dict(
    module: nn.Module, *, seed: int, rules: Sequence[Rule] = ()
) -> dict[str, Tensor]:
    """A random float32 state dict for `module`, which may lie on the `meta` device."""
    return {
        name: random_tensor(name, value.shape, seed=seed, rules=rules)
        for name, value in module.state_dict().items()
    }


def _generator(seed: int, name: str) -> torch.Generator:
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7]))
