"""Rows of different lengths in one batch."""

import torch
import torch.nn.functional as F
from torch import Tensor


def take_last(x: Tensor, lengths: Tensor, count: int) -> Tensor:
    """The last `count` of each row's first `lengths` columns. [B, C, T], [B] -> [B, C, count]"""
    columns = lengths[:, None] + torch.arange(-count, 0, device=x.device)
    return x.gather(2, columns[:, None].expand(-1, x.shape[1], -1))


def pad_left(rows: list[Tensor], dim: int) -> tuple[Tensor, list[int]]:
    """Stack rows of different sizes along `dim`, zeros first. Returns them and their sizes."""
    return _pad(rows, dim, left=True)


def pad_right(rows: list[Tensor], dim: int) -> tuple[Tensor, list[int]]:
    """Stack rows of different sizes along `dim`, zeros last. Returns them and their sizes."""
    return _pad(rows, dim, left=False)


def _pad(rows: list[Tensor], dim: int, *, left: bool) -> tuple[Tensor, list[int]]:
    sizes = [row.shape[dim] for row in rows]
    if len(rows) == 1:
        return rows[0][None], sizes  # a view: one stream's history is never copied for nothing
    longest = max(sizes)
    after = [0, 0] * (rows[0].ndim - 1 - dim)
    padded = []
    for row, size in zip(rows, sizes, strict=True):
        missing = longest - size
        padded.append(F.pad(row, [*after, *((missing, 0) if left else (0, missing))]))
    return torch.stack(padded), sizes
