"""Spoken answers that a chat's next turn names by `audio.id`: their very tokens, for a while."""

import heapq
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from uuid import uuid4


@dataclass(frozen=True, slots=True)
class SpokenTurn:
    """One spoken answer as the Thinker made it."""

    token_ids: tuple[int, ...]  # every vocabulary id after `<tts_start>`
    transcript: str


class SpokenTurnStore(Protocol):
    """Where spoken answers are kept between two requests of a chat."""

    def reserve(self) -> tuple[str, int]:
        """A new id, and when it will expire: Unix time in whole seconds."""

    async def put(self, turn_id: str, turn: SpokenTurn, expires_at: int) -> None:
        """Keep `turn` until `expires_at`, if there is room so long."""

    async def get(self, turn_id: str) -> SpokenTurn | None:
        """The turn, or None once it has expired or was never kept."""


class MemorySpokenTurns:
    """Keeps turns in this process: right for one HTTP replica, and no more than one.

    With several, the next turn may reach a replica that has never seen the id. A store for the
    whole cluster implements the same protocol.
    """

    def __init__(self, capacity: int, ttl_s: float, clock: Callable[[], float] = time.time) -> None:
        self._capacity = capacity
        self._ttl_s = ttl_s
        self._clock = clock
        self._turns: dict[str, tuple[int, SpokenTurn]] = {}
        # A heap of expiries, each with the number that its turn came as: a stream's expiry is set
        # when it begins, so turns do not come in the order in which they expire.
        self._expiries: list[tuple[int, int, str]] = []
        self._numbers = itertools.count()

    def reserve(self) -> tuple[str, int]:
        return f"audio_{uuid4().hex}", int(self._clock() + self._ttl_s)

    async def put(self, turn_id: str, turn: SpokenTurn, expires_at: int) -> None:
        """Keep `turn`. What has expired goes, and where there is no room what expires first."""
        self._turns[turn_id] = (expires_at, turn)
        heapq.heappush(self._expiries, (expires_at, next(self._numbers), turn_id))
        now = self._clock()
        while self._expiries and (
            self._expiries[0][0] <= now or len(self._expiries) > self._capacity
        ):
            del self._turns[heapq.heappop(self._expiries)[-1]]

    async def get(self, turn_id: str) -> SpokenTurn | None:
        expires_at, turn = self._turns.get(turn_id, (0, None))
        return turn if expires_at > self._clock() else None
