"""How far vLLM's engine is, seen from outside its process: by the steps that it reports."""

import time
from collections.abc import Callable

from deployments.stages import Steps


class StepClock:
    """Counts steps. An engine at work begins the next one where the last one ends."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._made = 0
        self._began_s = now_s()
        self.cache_used = 0.0
        """The share of the KV cache that is taken, after the latest step."""

    def begin(self) -> None:
        """Work comes to an idle engine."""
        self._began_s = self._now_s()

    def end_step(self, cache_used: float = 0.0) -> None:
        self._made += 1
        self.cache_used = cache_used
        self._began_s = self._now_s()

    def steps(self, *, at_work: bool) -> Steps:
        return Steps(self._made, self._now_s() - self._began_s if at_work else 0.0)
