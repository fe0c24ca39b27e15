"""Whether a turn sounds complete, asked at a pause, within a budget of processor time."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from serve_app.sound.turns.smart_turn import SmartTurn

CORES = 0.5
"""The share of a core that a replica gives to the question: four pauses a second of 110 ms each."""

SAVED_S = 2.0
"""The processor time that may be saved up: many speakers may pause at once."""

MOST_WAITING = 3
"""Questions a thread that may wait: the answer to one more would come after half a second."""


class TurnJudge:
    """Asks the model in threads of its own. One a replica.

    Args:
        model: sound -> probability that the turn is complete; Smart Turn by default, which takes
            two tenths of a second to load.
        threads: how many questions are answered at a time.
        cores: the budget, in seconds of processor time a second. Questions beyond it, and those
            that would wait too long for a thread, are not answered.
        saved_s: how much of the budget may be saved up.
    """

    def __init__(
        self,
        model: Callable[[np.ndarray], float] | None = None,
        threads: int = 1,
        cores: float = CORES,
        saved_s: float = SAVED_S,
    ) -> None:
        self._model = model or SmartTurn()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="turn-judge")
        self._budget = Budget(cores, saved_s)
        self._places = threading.BoundedSemaphore(threads * (1 + MOST_WAITING))

    async def complete(self, samples: np.ndarray) -> float | None:
        """The probability that the speaker is done; None where there is no time to answer.

        Args:
            samples: [N] float32 at 16 kHz: the turn so far, with its silence; the last 8 s count.
        """
        if self._budget.left_s() <= 0 or not self._places.acquire(blocking=False):
            return None
        answer = self._pool.submit(self._ask, samples)
        answer.add_done_callback(self._leave)
        return await asyncio.wrap_future(answer)

    def close(self) -> None:
        """Answer no more questions. Does not wait for the one that is being answered."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _ask(self, samples: np.ndarray) -> float:
        began = time.thread_time()
        try:
            return self._model(samples)
        finally:
            self._budget.spend(time.thread_time() - began)

    def _leave(self, _: Future[float]) -> None:
        self._places.release()


class Budget:
    """Seconds of processor time, `cores` of them a second, of which `saved_s` may be saved up.

    What is spent may exceed what is left: the next seconds pay for it.
    """

    def __init__(
        self, cores: float, saved_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._cores, self._saved_s, self._clock = cores, saved_s, clock
        self._left_s = saved_s if cores > 0 else 0.0
        self._counted_at = clock()
        self._lock = threading.Lock()

    def left_s(self) -> float:
        with self._lock:
            now = self._clock()
            self._left_s = min(self._left_s + (now - self._counted_at) * self._cores, self._saved_s)
            self._counted_at = now
            return self._left_s

    def spend(self, seconds: float) -> None:
        with self._lock:
            self._left_s -= seconds
