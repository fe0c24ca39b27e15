"""Spoken answers that a chat's next turn names by `audio.id`: their very tokens, for a while."""

import time
from collections import OrderedDict
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
        self._turns: OrderedDict[str, tuple[int, SpokenTurn]] = OrderedDict()  # oldest first

    def reserve(self) -> tuple[str, int]:
        return f"audio_{uuid4().hex}", int(self._clock() + self._ttl_s)

    async def put(self, turn_id: str, turn: SpokenTurn, expires_at: int) -> None:
        self._turns[turn_id] = (expires_at, turn)
        self._forget_expired()
        while len(self._turns) > self._capacity:
            self._turns.popitem(last=False)

    async def get(self, turn_id: str) -> SpokenTurn | None:
        self._forget_expired()
        _, turn = self._turns.get(turn_id, (0, None))
        return turn

    def _forget_expired(self) -> None:
        """Every turn lives equally long, so the expired ones are the first."""
        now = self._clock()
        while self._turns and next(iter(self._turns.values()))[0] <= now:
            self._turns.popitem(last=False)
