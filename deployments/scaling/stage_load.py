"""What a replica tells the policy, by Ray Serve's `record_autoscaling_stats`."""

from collections.abc import Iterator
from contextlib import contextmanager

from deployments.errors import ServerFull

LOAD, ASKED, REFUSED = "load", "asked", "refused"


class StageLoad:
    """Counts what a replica was asked for and what it refused, from its start."""

    def __init__(self) -> None:
        self._asked = self._refused = 0

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count the block's answer; one that ends with ServerFull was refused."""
        self._asked += 1
        try:
            yield
        except ServerFull:
            self._refused += 1
            raise

    def stats(self, headroom: float) -> dict[str, float]:
        """As Ray Serve takes them: numbers alone, under the same names every time."""
        return {LOAD: 1 - headroom, ASKED: self._asked, REFUSED: self._refused}
