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
    """What a decoder finds out about one recording, besides its samples."""

    promised_s: float | None = None  # it lasts at least this, the header says; None: it does not
    skipped_packets: int = 0  # damaged ones
    moments: int = 0  # stretches of samples that were looked at
    bursts: int = 0  # those among them that damage made absurdly loud; they are skipped
