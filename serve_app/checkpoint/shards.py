"""Safetensors shards with an index, written one shard at a time."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

INDEX_FILE = "model.safetensors.index.json"


def write_shards(
    directory: Path,
    shapes: Mapping[str, torch.Size],
    dtype: torch.dtype,
    value: Callable[[str], Tensor],
    *,
    shard_bytes: int,
    on_progress: Callable[[str], None],
) -> None:
    """Write tensors as `model-00001-of-0000N.safetensors` and their index.

    `value` makes one tensor when its shard's turn comes, so that memory never holds more than one
    shard of at most `shard_bytes`, or one tensor that is larger.
    """
    sizes = {name: shape.numel() * dtype.itemsize for name, shape in shapes.items()}
    shards = _pack(sizes, shard_bytes)
    weight_map: dict[str, str] = {}
    for number, names in enumerate(shards, start=1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        on_progress(f"{file}, {sum(sizes[name] for name in names) / 1e6:.1f} MB")
        save_file({name: value(name) for name in names}, directory / file, {"format": "pt"})
        (directory / file).chmod(0o644)  # safetensors lets only the owner read
        weight_map |= dict.fromkeys(names, file)
    index = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": weight_map}
    (directory / INDEX_FILE).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _pack(sizes: Mapping[str, int], shard_bytes: int) -> list[list[str]]:
    """Names in order, cut wherever the next one would overfill a shard."""
    shards: list[list[str]] = [[]]
    used = 0
    for name, size in sizes.items():
        if shards[-1] and used + size > shard_bytes:
            shards.append([])
            used = 0
        shards[-1].append(name)
        used += size
    return shards
