"""How much a client may send: more ends its session, and no other one."""

import time
from collections.abc import Callable

from serve_app.http.access.key_limits import TokenBucket
from serve_app.http.realtime.session_ends import flooded

# 20 ms of sound an event are 50 events a second. A client that was held up sends them at once.
EVENTS, EVENTS_PERIOD_S = 4000.0, 10.0
# An event may have 20 MiB. Sound in real time is 64 KB a second in base64.
BYTES, BYTES_PERIOD_S = float(64 << 20), 60.0
REFUSALS, REFUSALS_PERIOD_S = 50.0, 10.0


class Inflow:
    """The limits of one session."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._events = TokenBucket(EVENTS, EVENTS_PERIOD_S, now_s)
        self._bytes = TokenBucket(BYTES, BYTES_PERIOD_S, now_s)
        self._refusals = TokenBucket(REFUSALS, REFUSALS_PERIOD_S, now_s)

    def take(self, size: int) -> None:
        """Count an event of `size` bytes.

        Raises:
            SessionEnds: it is one too many.
        """
        if self._events.wait_s(1):
            raise flooded("many events")
        if self._bytes.left() < 0:
            raise flooded("much data")
        self._events.spend(1)
        self._bytes.spend(size)

    def refused(self) -> None:
        """Count an event that was answered by an error.

        Raises:
            SessionEnds: it is one too many.
        """
        if self._refusals.wait_s(1):
            raise flooded("many events that cannot be served")
        self._refusals.spend(1)
