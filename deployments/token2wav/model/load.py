"""Weights and sizes of a published `token2wav/` folder."""

import pickle
from pathlib import Path

import torch
from torch import Tensor

from deployments.errors import ConfigError
from deployments.token2wav.model.config import FlowConfig
from deployments.token2wav.model.flow import Flow
from deployments.token2wav.model.hift import Hift, HiftConfig

_HIFT_PREFIX = "generator."


def load_flow(token2wav_dir: Path) -> Flow:
    """The flow of `flow.yaml` with the weights of `flow.pt`, on the CPU in float32.

    Raises:
        ConfigError: a file is missing or damaged, or the two do not fit each other.
    """
    flow = Flow(read_flow_config(token2wav_dir))
    _fill(flow, read_weights(token2wav_dir / "flow.pt"), token2wav_dir / "flow.pt")
    return flow


def read_flow_config(token2wav_dir: Path) -> FlowConfig:
    """The sizes in `flow.yaml`. Raises ConfigError where it is missing or names unknown parts."""
    path = token2wav_dir / "flow.yaml"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    return FlowConfig.from_yaml(text)


def load_hift(token2wav_dir: Path) -> Hift:
    """The vocoder of `hift.pt`, sized by its weights, weight norm folded, on the CPU.

    Raises:
        ConfigError: the file is missing or damaged, or holds something else.
    """
    config, weights = read_hift(token2wav_dir)
    hift = Hift(config)
    _fill(hift, weights, token2wav_dir / "hift.pt")
    hift.fold_weight_norm()
    return hift


def read_hift(token2wav_dir: Path) -> tuple[HiftConfig, dict[str, Tensor]]:
    """The vocoder's sizes and weights, without the prefix that `hift.pt` has from its training.

    Raises:
        ConfigError: the file is missing or damaged, or holds something else.
    """
    path = token2wav_dir / "hift.pt"
    stored = read_weights(path)
    weights = {name.removeprefix(_HIFT_PREFIX): value for name, value in stored.items()}
    try:
        return HiftConfig.from_state_dict(weights), weights
    except KeyError as error:
        raise ConfigError(f"{path} holds no vocoder: {error} is missing") from error


def read_weights(path: Path) -> dict[str, Tensor]:
    """A state dict, read without running code that the file might hold.

    Raises:
        ConfigError: the file is missing, damaged, or holds more than tensors.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error


def _fill(module: torch.nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    try:
        module.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise ConfigError(f"{path} does not fit the model: {error}") from error
    module.eval().requires_grad_(False)
