"""Weights and sizes of a published `token2wav/` folder."""

import pickle
import zipfile
from pathlib import Path

import torch
from torch import Tensor

from deployments.errors import ConfigError
from deployments.model_checks import FLOW, FLOW_CONFIG, VOCODER
from deployments.token2wav.functional.flow import Flow
from deployments.token2wav.functional.flow_config import FlowConfig
from deployments.token2wav.functional.hift import Hift, HiftConfig
from deployments.weight_files import one_line, require_file, require_torch_file

_HIFT_PREFIX = "generator."
# What sizes raise that are no sizes, or that no network can have together
UNFIT = (ArithmeticError, LookupError, TypeError, ValueError, RuntimeError)


def load_flow(token2wav_dir: Path) -> Flow:
    """The flow of `flow.yaml` with the weights of `flow.pt`, on the CPU in float32.

    Raises:
        ConfigError: a file is missing or damaged, or the two do not fit each other.
    """
    flow = _new_flow(token2wav_dir)
    _fill(flow, read_weights(token2wav_dir / FLOW), token2wav_dir / FLOW)
    return flow


def read_flow_config(token2wav_dir: Path) -> FlowConfig:
    """The sizes in `flow.yaml`. Raises ConfigError where it is missing or names unknown parts."""
    path = token2wav_dir / FLOW_CONFIG
    require_file(path)
    try:
        return FlowConfig.from_yaml(path.read_text(encoding="utf-8"))
    except (OSError, *UNFIT) as error:
        raise ConfigError(f"{path} cannot be read: {one_line(error)}") from error
    except ConfigError as error:  # it knows the file's name and not its folder
        raise ConfigError(f"{path.parent}: {one_line(error)}") from error


def load_hift(token2wav_dir: Path) -> Hift:
    """The vocoder of `hift.pt`, sized by its weights, weight norm folded, on the CPU.

    Raises:
        ConfigError: the file is missing or damaged, or holds something else.
    """
    config, weights = read_hift(token2wav_dir)
    hift = _new_hift(config, token2wav_dir)
    _fill(hift, weights, token2wav_dir / VOCODER)
    hift.fold_weight_norm()
    return hift


def read_hift(token2wav_dir: Path, device: str = "cpu") -> tuple[HiftConfig, dict[str, Tensor]]:
    """The vocoder's sizes and weights, without the prefix that `hift.pt` has from its training.

    Raises:
        ConfigError: the file is missing or damaged, or holds something else.
    """
    path = token2wav_dir / VOCODER
    stored = read_weights(path, device)
    weights = {name.removeprefix(_HIFT_PREFIX): value for name, value in stored.items()}
    try:
        return HiftConfig.from_state_dict(weights), weights
    except KeyError as error:
        raise ConfigError(f"{path} holds no vocoder: {error} is missing") from error
    except UNFIT as error:
        raise ConfigError(f"{path} holds a vocoder of another shape: {one_line(error)}") from error


def require_weights(token2wav_dir: Path) -> None:
    """Check that `flow.pt` fits `flow.yaml` and that `hift.pt` is a vocoder; reads shapes alone.

    Raises:
        ConfigError: a file is missing or damaged, or does not fit.
    """
    with torch.device("meta"):
        flow = _new_flow(token2wav_dir)
        _fill(flow, read_weights(token2wav_dir / FLOW, "meta"), token2wav_dir / FLOW)
        config, weights = read_hift(token2wav_dir, "meta")
        _fill(_new_hift(config, token2wav_dir), weights, token2wav_dir / VOCODER)


def read_weights(path: Path, device: str = "cpu") -> dict[str, Tensor]:
    """A state dict, read without running code that the file might hold; `meta` reads only shapes.

    Raises:
        ConfigError: the file is missing, damaged, or holds more than tensors.
    """
    require_torch_file(path)
    is_mapped = device == "meta" and zipfile.is_zipfile(path)  # as torch 1.6 and later write
    try:
        weights = torch.load(path, map_location=device, weights_only=True, mmap=is_mapped)
    except pickle.UnpicklingError as error:  # its own message advises to run code of the file
        raise ConfigError(f"{path} is damaged, or holds more than tensors") from error
    except Exception as error:  # a damaged pickle can raise anything
        raise ConfigError(f"{path} cannot be read: {one_line(error)}") from error
    if not isinstance(weights, dict) or not all(isinstance(w, Tensor) for w in weights.values()):
        raise ConfigError(f"{path} holds no weights by name")
    return weights


def _new_flow(token2wav_dir: Path) -> Flow:
    config = read_flow_config(token2wav_dir)
    try:
        return Flow(config)
    except UNFIT as error:
        path = token2wav_dir / FLOW_CONFIG
        raise ConfigError(f"{path} has sizes that do not fit: {one_line(error)}") from error


def _new_hift(config: HiftConfig, token2wav_dir: Path) -> Hift:
    try:
        return Hift(config)
    except UNFIT as error:
        path = token2wav_dir / VOCODER
        raise ConfigError(f"{path} holds a vocoder of another shape: {one_line(error)}") from error


def _fill(module: torch.nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    """Name the first tensor that is of another shape, missing or unknown, and count the others."""
    own = module.state_dict()
    wrong = [
        f"{name} is {list(value.shape)}, not {list(own[name].shape)}"
        for name, value in weights.items()
        if name in own and own[name].shape != value.shape
    ]
    if not wrong:
        try:  # not strict: its message lists every name
            found = module.load_state_dict(weights, strict=False)
        except RuntimeError as error:
            wrong = str(error).splitlines()[1:]
        else:
            wrong = [f"it lacks {name}" for name in found.missing_keys]
            wrong += [f"it holds {name}, which is unknown" for name in found.unexpected_keys]
    if wrong:
        others = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise ConfigError(f"{path} does not fit the model: {wrong[0].strip()}{others}")
    module.eval().requires_grad_(False)
