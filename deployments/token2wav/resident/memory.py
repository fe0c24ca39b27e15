"""The GPU memory of streams and voices: how much there is, and how it is divided."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from deployments.errors import ServerFull

RESERVED = 1  # id 0 belongs to rows that are not used: it is never given out and stays zero
_ALIGNMENT = 256


class IdPool:
    """Hands out ids of equal pieces of memory. One thread at a time may call it."""

    def __init__(self, count: int) -> None:
        self._free = list(range(count - 1, RESERVED - 1, -1))

    @property
    def free(self) -> int:
        return len(self._free)

    def take(self, count: int) -> list[int]:
        """`count` ids, lowest first where possible. Raises ServerFull if there are too few."""
        if count > len(self._free):
            raise ServerFull()
        return [self._free.pop() for _ in range(count)]

    def give(self, ids: Iterable[int]) -> None:
        self._free.extend(ids)


@dataclass(frozen=True, slots=True)
class Needs:
    """What a voice or a stream takes."""

    solver_blocks: int
    encoder_blocks: int
    slots: int

    def bytes(self, prices: "Prices") -> int:
        return (
            self.solver_blocks * prices.solver_block
            + self.encoder_blocks * prices.encoder_block
            + self.slots * prices.slot
        )


@dataclass(frozen=True, slots=True)
class Prices:
    """Bytes of a solver block, an encoder block and a slot."""

    solver_block: int
    encoder_block: int
    slot: int


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """How many of each there are, and how many streams that makes."""

    solver_blocks: int
    encoder_blocks: int
    slots: int
    max_streams: int

    @classmethod
    def within(
        cls, budget: int, *, voice: Needs, stream: Needs, voices: int, prices: Prices
    ) -> "MemoryPlan":
        """Split `budget` bytes among `voices` voices and as many streams as fit beside them.

        Voices and streams of other lengths share the same pieces; then more or fewer fit.

        Raises:
            ValueError: not even one stream fits.
        """
        reserved = Needs(RESERVED, RESERVED, RESERVED).bytes(prices)
        left = budget - reserved - voices * voice.bytes(prices)
        streams = left // stream.bytes(prices)
        if streams < 1:
            needed = reserved + voices * voice.bytes(prices) + stream.bytes(prices)
            raise ValueError(f"a budget of {budget} bytes, where one stream needs {needed}")
        return cls(
            RESERVED + voices * voice.solver_blocks + streams * stream.solver_blocks,
            RESERVED + voices * voice.encoder_blocks + streams * stream.encoder_blocks,
            RESERVED + voices * voice.slots + streams * stream.slots,
            streams,
        )


class Arena:
    """One piece of memory from which every shape of a step carves its buffers, from the start.

    Only one shape computes at a time, so that they may all lie in the same place.
    """

    def __init__(self, size: int, device: torch.device) -> None:
        self.memory = torch.zeros(size, dtype=torch.uint8, device=device)
        self._used = 0

    def restart(self) -> None:
        self._used = 0

    def take(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """An uninitialised tensor. Raises ValueError if the arena is too small for it."""
        size = math.prod(shape) * dtype.itemsize
        begin = -(-self._used // _ALIGNMENT) * _ALIGNMENT
        if begin + size > len(self.memory):
            raise ValueError(f"the arena of {len(self.memory)} bytes lacks {size}")
        self._used = begin + size
        return self.memory[begin : begin + size].view(dtype).view(shape)


class Measure:
    """Stands in for an `Arena` to learn how large it must be."""

    def __init__(self) -> None:
        self.size = 0

    def take(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        self.size = -(-self.size // _ALIGNMENT) * _ALIGNMENT + math.prod(shape) * dtype.itemsize
        return torch.empty(shape, dtype=dtype, device="meta")


Take = Callable[[tuple[int, ...], torch.dtype], Tensor]


def allocator(device: torch.device) -> Take:
    """Takes memory of its own for each buffer, for shapes that are computed once."""
    return lambda shape, dtype: torch.empty(shape, dtype=dtype, device=device)
