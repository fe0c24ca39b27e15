"""Answers that are begun in a short silence, before it is known whether the turn is over.

The sound is held back. Should the speaker go on, the answer is dropped, which closes its generator
and so frees both stages. Should the turn be over, the answer has a start of the silence's length.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from deployments.ray_failures import FULL, unwrap
from serve_app.graph.answers import Delta
from serve_app.http.realtime.conversation import Conversation
from serve_app.http.realtime.items import Item, MessageItem
from serve_app.http.realtime.open_sessions import Sessions
from serve_app.http.realtime.response_plan import Plan

Ask = Callable[[Plan, str], AsyncGenerator[Delta]]


class Trial:
    """An answer to a turn that may not be over."""

    def __init__(self, plan: Plan, deltas: AsyncGenerator[Delta]) -> None:
        self.plan = plan
        self._held: asyncio.Queue[Delta | None] = asyncio.Queue()
        self._task = asyncio.create_task(self._hold(deltas))

    async def deltas(self) -> AsyncGenerator[Delta]:
        """What was held, and what comes. Closing it drops the answer.

        Raises what the graph raised.
        """
        try:
            while (delta := await self._held.get()) is not None:
                yield delta
            await self._task
        finally:
            await self.drop()

    async def drop(self) -> None:
        """Stop the answer."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _hold(self, deltas: AsyncGenerator[Delta]) -> None:
        try:
            async with aclosing(deltas):
                async for delta in deltas:
                    self._held.put_nowait(delta)
        finally:
            self._held.put_nowait(None)


@dataclass(slots=True)
class _Guess:
    item: MessageItem  # the turn as it was heard when the silence began
    before: tuple[Item, ...]  # the conversation then
    trial: Trial


class Speculation:
    """The trials of one session: one at a time."""

    def __init__(self, conversation: Conversation, sessions: Sessions, ask: Ask) -> None:
        self._conversation = conversation
        self._sessions = sessions
        self._ask = ask
        self._guess: _Guess | None = None

    async def begin(self, item: MessageItem, plan: Plan, request_id: str) -> None:
        """Answer `item`, the turn so far, on trial; the prompt of `plan` ends with it."""
        await self.drop()
        if not self._sessions.were_refused():
            before = tuple(self._conversation.items)
            self._guess = _Guess(item, before, Trial(plan, self._noting(plan, request_id)))

    def item(self) -> MessageItem | None:
        """The turn that is being answered on trial, if the answer can still be used."""
        guess = self._guess
        valid = guess is not None and guess.before == tuple(self._conversation.items)
        return guess.item if guess and valid else None

    def take(self, item: MessageItem) -> Trial | None:
        """The answer to `item`, whose turn is over."""
        guess = self._guess
        if guess is None or guess.item is not item:
            return None
        self._guess = None
        return guess.trial

    async def drop(self) -> None:
        """The speaker goes on, or something has changed."""
        guess, self._guess = self._guess, None
        if guess is not None:
            await guess.trial.drop()

    async def _noting(self, plan: Plan, request_id: str) -> AsyncGenerator[Delta]:
        """The answer; notes whether the server is full."""
        async with aclosing(self._ask(plan, request_id)) as deltas:
            try:
                async for delta in deltas:
                    yield delta
            except Exception as error:
                if isinstance(unwrap(error), FULL):
                    self._sessions.note_refusal()
                raise
