"""What a step tells the GPU about its rows: one packed upload, read by every kernel.

All int32. A row that is not used is all zero: it attends to nothing, and nothing of it is kept.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

NOWHERE = -1


@dataclass(frozen=True, slots=True, eq=False)
class SolverRows:
    """The DiT's view of a step."""

    table: Tensor  # [rows, n] block ids of each row's address space
    spans: Tensor  # [rows, 3] end of the head, begin of the tail, end
    lengths: Tensor  # [rows] new frames
    places: Tensor  # [rows, frames] where they go, block * BLOCK + place, or NOWHERE
    slots: Tensor  # [rows, 2] slot read, slot written
    voices: Tensor  # [rows]
    offsets: Tensor  # [rows] where each row begins in the noise


@dataclass(frozen=True, slots=True, eq=False)
class EncoderRows:
    """The conformer's view of a step; places and spans are in tokens."""

    tokens: Tensor  # [rows, tokens + lookahead]; negative where zeros stand
    table: Tensor  # [rows, n]
    spans: Tensor  # [rows, 3] end of the prompt, begin and end of the own tokens
    lengths: Tensor  # [rows] new frames
    places: Tensor  # [rows, tokens]
    slots: Tensor  # [rows, 2]


@dataclass(frozen=True, slots=True, eq=False)
class VocoderRows:
    """HiFT's view of a step."""

    lengths: Tensor  # [rows] new frames
    held: Tensor  # [rows] frames held back by the step before
    slots: Tensor  # [rows, 2]
    positions: Tensor  # [rows] where each row begins in the source's noise, in samples


@dataclass(frozen=True, slots=True)
class RowLimits:
    """Sizes that all shapes of a model share."""

    solver_blocks: int
    encoder_blocks: int
    lookahead: int
    frames_per_token: int


class StepRows:
    """The rows of one shape, on the host to be filled and on the device to be read."""

    def __init__(self, rows: int, frames: int, limits: RowLimits, device: torch.device) -> None:
        tokens = frames // limits.frames_per_token
        shapes = {
            "table": (rows, limits.solver_blocks),
            "spans": (rows, 3),
            "lengths": (rows,),
            "places": (rows, frames),
            "slots": (rows, 2),
            "voices": (rows,),
            "offsets": (rows,),
            "tokens": (rows, tokens + limits.lookahead),
            "encoder_table": (rows, limits.encoder_blocks),
            "encoder_spans": (rows, 3),
            "encoder_places": (rows, tokens),
            "held": (rows,),
            "positions": (rows,),
        }
        sizes = {name: int(np.prod(shape)) for name, shape in shapes.items()}
        pinned = device.type == "cuda"
        self._host = torch.zeros(sum(sizes.values()), dtype=torch.int32, pin_memory=pinned)
        self._device = torch.zeros_like(self._host, device=device)
        self.host: dict[str, NDArray[np.int32]] = {}
        on_device: dict[str, Tensor] = {}
        begin = 0
        for name, shape in shapes.items():
            part = slice(begin, begin + sizes[name])
            self.host[name] = self._host[part].view(shape).numpy()
            on_device[name] = self._device[part].view(shape)
            begin += sizes[name]
        of = on_device
        self.solver = SolverRows(
            of["table"], of["spans"], of["lengths"], of["places"], of["slots"], of["voices"],
            of["offsets"],
        )  # fmt: skip
        self.encoder = EncoderRows(
            of["tokens"], of["encoder_table"], of["encoder_spans"], of["lengths"],
            of["encoder_places"], of["slots"],
        )  # fmt: skip
        self.vocoder = VocoderRows(of["lengths"], of["held"], of["slots"], of["positions"])
        self.clear()
        self.upload()

    def clear(self) -> None:
        """Make every row unused."""
        for name, values in self.host.items():
            values.fill(NOWHERE if name in ("places", "encoder_places", "tokens") else 0)

    def upload(self) -> None:
        """Send the host's rows to the device, in the order of the current stream."""
        self._device.copy_(self._host, non_blocking=True)
