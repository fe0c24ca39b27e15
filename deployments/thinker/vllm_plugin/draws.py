"""Draws that follow from a request's seed and from the position of the token that is drawn."""

import hashlib
from typing import Any

import torch


class PositionedGenerator(torch.Generator):
    """Gives the same numbers for a seed and a position, whatever was drawn before.

    vLLM winds a generator back where a prompt is computed in pieces. One of a CPU cannot be wound
    back, and the engine would die. These have nothing to wind back.
    """

    def __new__(cls, seed: int) -> "PositionedGenerator":
        return super().__new__(cls)  # whose argument is the device

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def move_to(self, position: int) -> None:
        """Be where the token of that index is drawn."""
        digest = hashlib.blake2b(f"{self._seed} {position}".encode(), digest_size=8).digest()
        self.manual_seed(int.from_bytes(digest, "little"))

    def get_offset(self) -> int:
        return 0

    def set_offset(self, offset: int) -> None:
        """Nothing: the next draw begins at its own position."""


def place_generators(batch: Any) -> None:
    """Have the rows of vLLM's `InputBatch` that have seeds drawn by seed and position."""
    for row, generator in list(batch.generators.items()):
        if not isinstance(generator, PositionedGenerator):
            generator = batch.generators[row] = PositionedGenerator(generator.initial_seed())
        generator.move_to(int(batch.num_tokens_no_spec[row]))
