"""How far two signals are apart. One that holds what is no number is never close: it is refused.

`max(0.0, nan)` is 0.0 and `min` passes over a NaN, so a comparison must not let one through.
"""

import math

import torch
from torch import Tensor


def require_finite(name: str, signal: Tensor) -> None:
    """Raises AssertionError, with how many and the first place, if `signal` holds NaN or inf."""
    wrong = (~torch.isfinite(signal)).nonzero()
    if len(wrong):
        raise AssertionError(
            f"{name}: {len(wrong)} of {signal.numel()} values are not finite, "
            f"the first at {wrong[0].tolist()}"
        )


def worst_difference(signal: Tensor, other: Tensor) -> float:
    """The largest |signal - other|.

    Raises AssertionError unless both are finite, of one shape and not empty.
    """
    _require_comparable(signal, other)
    return float((signal - other).abs().max())


def snr_db(signal: Tensor, other: Tensor) -> float:
    """10 log10(Σ signal² / Σ (signal - other)²); inf if they are equal, silence included.

    Raises AssertionError unless both are finite, of one shape and not empty.
    """
    _require_comparable(signal, other)
    signal, other = signal.double(), other.double()
    noise = (signal - other).square().sum()
    return float(10 * torch.log10(signal.square().sum() / noise)) if noise else math.inf


def _require_comparable(signal: Tensor, other: Tensor) -> None:
    assert signal.shape == other.shape, f"{tuple(signal.shape)} against {tuple(other.shape)}"
    assert signal.numel(), "nothing to compare"
    require_finite("expected", signal)
    require_finite("computed", other)
