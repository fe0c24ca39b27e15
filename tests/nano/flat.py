"""Rows of different lengths in one array."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Flat:
    """Rows of different lengths, one behind the other."""

    values: np.ndarray  # [total]
    starts: np.ndarray  # [rows + 1] int64

    @classmethod
    def of(cls, rows: Iterable[Sequence[int] | np.ndarray]) -> "Flat":
        """Put rows together."""
        kept = [np.asarray(row, dtype=np.int64) for row in rows]
        starts = np.cumsum([0, *map(len, kept)], dtype=np.int64)
        return cls(np.concatenate(kept), starts)

    @classmethod
    def codes(cls, out: Path) -> "Flat":
        """The speech codes of every utterance of the corpus, as the speech tokenizer left them."""
        values = np.load(out / "codes.npy").astype(np.int64)
        return cls(values, np.load(out / "codes_starts.npy").astype(np.int64))

    @property
    def lengths(self) -> np.ndarray:
        """[rows] int64."""
        return np.diff(self.starts)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, row: int) -> np.ndarray:
        return self.values[self.starts[row] : self.starts[row + 1]]
