"""What a step tells the GPU about its rows: one packed upload, read by every kernel."""

from dataclasses import dataclass

import torch
from torch import Tensor

_FIELDS = ("table", "spans", "lengths", "places", "slots", "voices", "offsets")


@dataclass(frozen=True, slots=True, eq=False)
class SolverRows:
    """The DiT's view of a step. All int32; an unused row is all zero, its `places` -1."""

    table: Tensor  # [rows, n] block ids of each row's address space
    spans: Tensor  # [rows, 3] end of the head, begin of the tail, end
    lengths: Tensor  # [rows] new frames
    places: Tensor  # [rows, frames] where they go, block * BLOCK + place, or -1
    slots: Tensor  # [rows, 2] slot read, slot written
    voices: Tensor  # [rows]
    offsets: Tensor  # [rows] where each row begins in the noise

    @classmethod
    def empty(cls, rows: int, frames: int, blocks: int, device: torch.device) -> "SolverRows":
        """Rows that are all unused, as views of one tensor: see `packed`."""
        shapes = ((rows, blocks), (rows, 3), (rows,), (rows, frames), (rows, 2), (rows,), (rows,))
        sizes = [torch.Size(shape).numel() for shape in shapes]
        packed = torch.zeros(sum(sizes), dtype=torch.int32, device=device)
        parts = packed.split(sizes)
        views = [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]
        result = cls(*views)
        result.places.fill_(-1)
        return result

    def fill(self, other: "SolverRows") -> None:
        """Copy the values of rows of the same shapes."""
        for name in _FIELDS:
            getattr(self, name).copy_(getattr(other, name), non_blocking=True)
