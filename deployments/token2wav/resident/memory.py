"""The GPU memory of streams and voices: how much there is, and how it is divided."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from deployments.errors import ConfigError, ServerFull
from deployments.token2wav.token2wav_config import GpuMemory

RESERVED = 1  # unused rows have id 0: no stream gets it, and it stays zero
GIB = 2**30
# Kept free where the budget is what the GPU has: the buffers of a step, cuBLAS's, the pool of the
# CUDA graphs, and what preparing a voice takes for a moment.
WORK_SPACE = 3 * GIB
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

    def bytes(self, sizes: "PieceSizes") -> int:
        return (
            self.solver_blocks * sizes.solver_block
            + self.encoder_blocks * sizes.encoder_block
            + self.slots * sizes.slot
        )


@dataclass(frozen=True, slots=True)
class PieceSizes:
    """Bytes of a solver block, an encoder block and a slot."""

    solver_block: int
    encoder_block: int
    slot: int


@dataclass(frozen=True, slots=True)
class Budget:
    """How many bytes streams and voices may take, and what says so."""

    bytes: int
    source: str

    @classmethod
    def of(cls, gpu: GpuMemory, share: float, *, free: int, total: int, own: int) -> "Budget":
        """What is configured; else what is free, within the replica's share of the GPU.

        Args:
            share: of the GPU that this replica may take, 1 for all of it.
            free, total: bytes of the GPU.
            own: bytes that this replica has taken already, for its weights.
        """
        if gpu.memory_gb is not None:
            return cls(int(gpu.memory_gb * GIB), "gpu.memory_gb")
        shared = int(share * total) - own
        source = "what the GPU has free" if shared >= free else f"num_gpus {share:g} of the GPU"
        return cls(min(free, shared) - WORK_SPACE, source)


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """How many pieces of each kind there are, and how many streams they hold."""

    solver_blocks: int
    encoder_blocks: int
    slots: int
    max_streams: int  # in the shortest of the configured voices
    in_longest: int  # in the longest of them

    @classmethod
    def within(
        cls,
        budget: Budget,
        *,
        voices: Sequence[Needs],
        streams: Sequence[Needs],
        sizes: PieceSizes,
        most: int | None = None,
    ) -> "MemoryPlan":
        """Divide a budget among voices and as many streams as fit beside them.

        Streams in voices of any length share the same pieces. A stream takes more solver blocks
        the longer its voice is, and of the other pieces always as many.

        Args:
            voices: what each voice takes that has a place while streams fill all the rest.
            streams: what a stream takes in each of the configured voices.
            most: no more streams than these are wanted.

        Raises:
            ConfigError: not even one stream fits.
        """
        reserved = [Needs(RESERVED, RESERVED, RESERVED), *voices]
        left = budget.bytes - sum(needs.bytes(sizes) for needs in reserved)
        short, long = (choose(streams, key=lambda n: n.solver_blocks) for choose in (min, max))
        if left < long.bytes(sizes):
            needed = budget.bytes - left + long.bytes(sizes)
            raise ConfigError(
                f"Token2Wav's memory ({budget.source}) is {budget.bytes / GIB:.2f} GiB, "
                f"one stream needs {needed / GIB:.2f}"
            )
        count = left // short.bytes(sizes)
        count = count if most is None else min(count, most)
        rest = left - count * replace(short, solver_blocks=0).bytes(sizes)
        blocks = min(rest // sizes.solver_block, count * long.solver_blocks)
        return cls(
            sum(needs.solver_blocks for needs in reserved) + blocks,
            sum(needs.encoder_blocks for needs in reserved) + count * short.encoder_blocks,
            sum(needs.slots for needs in reserved) + count * short.slots,
            max_streams=count,
            in_longest=min(count, blocks // long.solver_blocks),
        )

    def bytes(self, sizes: PieceSizes) -> int:
        """What all the pieces take."""
        return Needs(self.solver_blocks, self.encoder_blocks, self.slots).bytes(sizes)


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
