"""Spoken answers that a chat's next turn names by `audio.id`: their very tokens, for a while.

A whole answer's id holds its tokens itself, so any replica that has the key honours it. A streamed
answer's id is announced before its tokens exist: it names a place in a store, which all replicas
share.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from deployments.errors import SpokenTurnExpired, SpokenTurnGone, SpokenTurnInvalid
from serve_app.http.access.signing_keys import signing_keys
from serve_app.http.chat.turn_ids import MAX_CHARS, TurnIds
from serve_app.http.chat.turn_stores import FolderTurns, MemoryTurns, TurnStore
from serve_app.http.settings import HttpSettings

SHOWN_CHARS = 40  # of an id, in an error


@dataclass(frozen=True, slots=True)
class TurnName:
    """By what a spoken answer can be named, and until when."""

    id: str
    expires_at: int  # Unix time, seconds


class SpokenTurns:
    """Names spoken answers, and finds their tokens again for whom they were spoken to."""

    def __init__(
        self, ids: TurnIds, store: TurnStore, ttl_s: float, clock: Callable[[], float] = time.time
    ) -> None:
        self._ids = ids
        self._store = store
        self._ttl_s = ttl_s
        self._clock = clock

    def announce(self, owner: str) -> TurnName:
        """A name for an answer whose tokens are yet to come."""
        expires_at = int(self._clock() + self._ttl_s)
        return TurnName(self._ids.of_name(expires_at, owner), expires_at)

    async def keep(self, turn: TurnName, token_ids: Sequence[int], owner: str) -> None:
        """Keep the tokens of an announced answer: every vocabulary id after `<tts_start>`."""
        if turn.expires_at <= self._clock():
            return
        name = self._ids.read(turn.id, owner, self._clock()).name
        sealed = self._ids.sealed(token_ids, turn.expires_at, owner, name)
        await self._store.put(name.hex(), sealed, turn.expires_at)

    async def name(self, token_ids: Sequence[int], owner: str) -> TurnName:
        """A name for a whole answer. One that is too long for an id goes into the store."""
        expires_at = int(self._clock() + self._ttl_s)
        turn = TurnName(self._ids.of_tokens(token_ids, expires_at, owner), expires_at)
        if len(turn.id) > MAX_CHARS:
            turn = self.announce(owner)
            await self.keep(turn, token_ids, owner)
        return turn

    async def token_ids(self, turn_id: str, owner: str, param: str) -> tuple[int, ...]:
        """The tokens of the answer that `turn_id` names.

        Raises:
            SpokenTurnInvalid: this server has not signed the id for `owner`.
            SpokenTurnExpired: its time is over.
            SpokenTurnGone: the answer was never finished, or is not kept any more.
            EngineFailed: the store cannot be asked now.
        """
        try:
            opened = self._ids.read(turn_id, owner, self._clock())
        except (SpokenTurnInvalid, SpokenTurnExpired) as error:
            error.param = param
            raise
        if opened.token_ids is not None:
            return opened.token_ids
        found = await self._kept(opened.name, opened.expires_at, owner)
        if found is None:
            raise SpokenTurnGone(f"{turn_id[:SHOWN_CHARS]}…", param)
        return found

    async def _kept(self, name: bytes, expires_at: int, owner: str) -> tuple[int, ...] | None:
        sealed = await self._store.get(name.hex(), expires_at)
        if sealed is None:
            return None
        try:
            return self._ids.open(sealed, owner, self._clock(), name).token_ids
        except (SpokenTurnInvalid, SpokenTurnExpired):  # half a file, or not of this server
            return None


@dataclass(frozen=True, slots=True)
class CallersTurns:
    """The turns that were spoken to one caller."""

    turns: SpokenTurns
    owner: str = ""  # by whose key the request came; "" where there are none

    def announce(self) -> TurnName:
        """As `SpokenTurns` does it."""
        return self.turns.announce(self.owner)

    async def keep(self, turn: TurnName, token_ids: Sequence[int]) -> None:
        """As `SpokenTurns` does it."""
        await self.turns.keep(turn, token_ids, self.owner)

    async def name(self, token_ids: Sequence[int]) -> TurnName:
        """As `SpokenTurns` does it."""
        return await self.turns.name(token_ids, self.owner)

    async def token_ids(self, turn_id: str, param: str) -> tuple[int, ...]:
        """As `SpokenTurns` does it."""
        return await self.turns.token_ids(turn_id, self.owner, param)


def spoken_turns_of(settings: HttpSettings) -> SpokenTurns:
    """What the configuration says.

    Raises:
        ConfigError: a key or the folder cannot be used.
    """
    store: TurnStore
    if settings.spoken_turns_folder is None:
        store = MemoryTurns(settings.spoken_turns_kept)
    else:
        store = FolderTurns(settings.spoken_turns_folder)
    return SpokenTurns(TurnIds(signing_keys(settings)), store, settings.spoken_turn_ttl_s)
