"""Who goes first in both stages: a listener who waits now, or work that nobody waits for.

A plain string crosses processes, so a version that knows no priorities can still read a message.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from deployments.errors import ServerFull

Priority = Literal["live", "background"]
"""`live` is a request that somebody waits for. `background` work uses the time that is left."""

MOST_IN_BACKGROUND = 128  # half of the requests that Ray Serve lets into a replica by our default


def places_for(priority: Priority, places: int) -> int:
    """How many of a stage's `places` the requests of this priority may take together.

    Background work may take half of them, and at most `MOST_IN_BACKGROUND`, so that a live request
    finds a place at once: an answer that has begun keeps its place until it ends.
    """
    return places if priority == "live" else max(1, min(places // 2, MOST_IN_BACKGROUND))


class Places:
    """Counts the requests in the background that have a place in a stage."""

    def __init__(self, places: int) -> None:
        self._most = places_for("background", places)
        self._taken = 0

    @contextmanager
    def taken_by(self, priority: Priority) -> Iterator[None]:
        """A place for as long as the block lasts; a live request always gets one here.

        Raises:
            ServerFull: background work has all the places that it may take.
        """
        if priority == "live":
            yield
            return
        if self._taken >= self._most:
            raise ServerFull()
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1
