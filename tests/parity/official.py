"""What the parity tests share: the official modules with our weights and noise.

Importing this module skips the importing test module where `step-audio2` is not installed.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from deployments.token2wav import reference
from deployments.token2wav.functional import Flow, FlowConfig, Hift, HiftConfig
from deployments.token2wav.functional.source import SourceNoise

pytest.importorskip("cosyvoice2.flow.flow", reason="the official step-audio2 is not installed")

STEPS = 10
HISTORY_TAIL_FRAMES = 100


@contextlib.contextmanager
def uncompiled() -> Iterator[None]:
    """The official encoder is wrapped in torch.compile, which only costs time on a CPU."""
    with torch.compiler.set_stance("force_eager"):
        yield


def official_flow(flow: Flow, seed: int) -> Any:
    """The official flow with the weights of `flow` and the noise of `seed`."""
    return reference.official_flow(flow.config, flow.state_dict(), seed=seed)


def official_hift(hift: Hift) -> Any:
    """The official vocoder with the weights of `hift`, its weight norm not folded."""
    return reference.official_hift(hift.config, hift.state_dict())


@contextlib.contextmanager
def source_noise(noise: SourceNoise, position: int, samples: int) -> Iterator[None]:
    """Let the official source module draw the noise that ours reads at `position`."""
    with reference.official_draws(noise.at(position, samples)):
        yield


def trimmed(cache: dict[str, Tensor], prompt_frames: int) -> dict[str, Tensor]:
    """What the official `Token2wav.stream` does to the cache after each chunk."""
    history = cache["estimator_att_cache"]
    if history.shape[4] > prompt_frames + HISTORY_TAIL_FRAMES:
        first = history[:, :, :, :, :prompt_frames]
        last = history[:, :, :, :, -HISTORY_TAIL_FRAMES:]
        cache["estimator_att_cache"] = torch.cat([first, last], dim=4)
    return cache


def randomise(module: nn.Module, seed: int) -> None:
    """Random weights under which signals neither vanish nor explode.

    The published initialisation zeroes the DiT's gates and output: it would hide every mistake.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, value in module.named_parameters():
        noise = torch.randn(value.shape, generator=generator)
        if "norm" in name and name.endswith("weight") and value.ndim == 1:
            noise = 1 + 0.1 * noise
        elif name.endswith("alpha"):
            noise = 1 + 0.2 * noise.abs()
        elif name.endswith("original0"):  # the length of a weight-normalised row
            noise = 0.6 + 0.1 * noise.abs()
        elif value.ndim == 1:
            noise = 0.05 * noise
        elif "adaLN" in name:
            noise = 0.5 * noise / value[0].numel() ** 0.5
        elif "input_embedding" not in name:
            noise = noise / value[0].numel() ** 0.5
        with torch.no_grad():
            value.copy_(noise)


def random_flow(config: FlowConfig, seed: int = 0) -> Flow:
    flow = Flow(config)
    randomise(flow, seed)
    return flow.eval().requires_grad_(False)


def random_hift(config: HiftConfig, seed: int = 0) -> Hift:
    """A vocoder whose pitch lies well above the voiced threshold in some frames, at 0 in others."""
    hift = Hift(config)
    randomise(hift, seed)
    with torch.no_grad():
        hift.f0_predictor.classifier.weight.mul_(1200)
        hift.f0_predictor.classifier.bias.fill_(150)
    return hift.eval().requires_grad_(False)
