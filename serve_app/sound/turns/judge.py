"""Whether a turn sounds complete, asked at a pause, within a budget of processor time."""

from typing import Protocol

import numpy as np


class TurnJudge(Protocol):
    """One a replica."""

    async def complete(self, samples: np.ndarray) -> float | None:
        """The probability that the speaker is done; None where the budget is spent.

        Args:
            samples: [N] float32 at 16 kHz: the turn so far, with its silence; the last
                `SECONDS_HEARD` are enough.
        """
        ...
