"""What a decoder gives: blocks of samples, and notes about the file they came from."""

from dataclasses import dataclass

import numpy as np


class Undecodable(Exception):
    """A decoder finds no sound in its input; the message says why."""


@dataclass(frozen=True, slots=True)
class Block:
    """Some consecutive samples of a recording."""

    samples: np.ndarray  # [C, n] float32, full scale is 1
    rate_hz: int


@dataclass(slots=True)
class Notes:
    """What a decoder finds out about one recording, in addition to its samples."""

    promised_s: float | None = None  # what the header says; None where it says nothing
    tolerance_s: float = 0.0  # by how much a correct header may differ
    skipped_packets: int = 0  # damaged ones
    moments: int = 0  # stretches of samples that were looked at
    bursts: int = 0  # those among them that damage made absurdly loud; they are skipped

    def is_kept(self, seconds: float) -> bool:
        """Whether the header promises that much sound or less."""
        return self.promised_s is None or seconds >= self.promised_s - self.tolerance_s
