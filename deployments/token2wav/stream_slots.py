"""Who gets a place among the streams that the engine has memory for."""

from collections.abc import Collection

from deployments.errors import ServerFull
from deployments.priority import places_for
from deployments.token2wav.schedule import Listener

KEPT_S = 0.5  # a place for an answer that was refused; it asks again sooner than that


class StreamPlaces:
    """Gives places, first to answers that lost their replica.

    Such an answer is not let in beyond the memory either. But while one of them waits for a place,
    no other stream gets one.
    """

    def __init__(self) -> None:
        self._kept_until_s = float("-inf")

    def require(
        self,
        taken: Collection[Listener],
        newcomer: Listener,
        places: int,
        now_s: float,
        *,
        goes_on: bool,
    ) -> None:
        """Return if there is a place for `newcomer`.

        Args:
            taken: the listeners of all streams that are open.
            places: how many streams the engine has memory for.
            now_s: of a monotonic clock.
            goes_on: whether another replica began the answer.

        Raises:
            ServerFull: there is none, or it is kept for an answer that goes on.
        """
        full = len(taken) >= places
        if newcomer.priority == "background":
            ahead = sum(one.priority == "background" for one in taken)
            full = full or ahead >= places_for(newcomer.priority, places)
        if full or (not goes_on and now_s < self._kept_until_s):
            raise ServerFull(reason="memory")

    def keep(self, now_s: float) -> None:
        """Give no place to a stream that begins for now: one that goes on has found none."""
        self._kept_until_s = now_s + KEPT_S
