"""The responses of one session: one at a time, each in a task that can be stopped."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, nullcontext
from typing import Any

from serve_app.graph.answers import Delta, complete
from serve_app.graph.backend import Backend
from serve_app.http.access.key_limits import Allowance
from serve_app.http.errors import log_if_ours
from serve_app.http.realtime.conversation import Conversation
from serve_app.http.realtime.outbox import ClientTooSlow, Outbox
from serve_app.http.realtime.plan import Plan
from serve_app.http.realtime.refusals import Refused
from serve_app.http.realtime.response import Reason, Response
from serve_app.http.realtime.response_writer import ResponseWriter


class Answering:
    """Asks the graph, and writes what it answers."""

    def __init__(
        self,
        backend: Backend,
        allowance: Allowance | None,
        outbox: Outbox,
        conversation: Conversation,
        fail: Callable[[BaseException], None],
    ) -> None:
        """`fail` ends the session."""
        self._backend = backend
        self._allowance = allowance
        self._outbox = outbox
        self._conversation = conversation
        self._fail = fail
        self._writer: ResponseWriter | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def active(self) -> Response | None:
        """The response under way."""
        return self._writer.response if self._writer else None

    def begin(self, plan: Plan, conversation_id: str, request_id: str) -> Response:
        """Begin a response.

        Raises:
            Refused: one is under way.
        """
        if self.active is not None:
            message = f"Conversation already has an active response: {self.active.id}"
            raise Refused("conversation_already_has_active_response", message)
        response = Response(plan, conversation_id)
        writer = ResponseWriter(response, self._conversation, self._outbox.put)
        writer.begin()
        self._writer = writer
        self._task = asyncio.create_task(self._run(writer, self._deltas(plan, request_id)))
        return response

    async def cancel(self, reason: Reason) -> Response | None:
        """Stop the response under way: its generator is closed, which frees both stages."""
        writer, task = self._writer, self._task
        if writer is None or task is None:
            return None
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if writer.response.status == "in_progress":
            writer.cancel(reason)
        return writer.response

    async def close(self) -> None:
        """Stop the response under way, of which nobody hears any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _deltas(self, plan: Plan, request_id: str) -> AsyncGenerator[Delta]:
        if plan.spoken:
            return complete(self._backend.speech(plan.speech_request(request_id)))
        return complete(self._backend.text(plan.thinker_request(request_id)))

    async def _run(self, writer: ResponseWriter, deltas: AsyncGenerator[Delta]) -> None:
        try:
            await self._answer(writer, deltas)
        except ClientTooSlow as error:
            self._fail(error)
        except Exception as error:
            log_if_ours(error)
            writer.fail(error)
        finally:
            self._writer = None

    async def _answer(self, writer: ResponseWriter, deltas: AsyncGenerator[Delta]) -> None:
        counted: Any = self._allowance.stream() if self._allowance else nullcontext()
        with counted:
            async with aclosing(deltas):
                async for delta in deltas:
                    await writer.take(delta)
                    await self._outbox.room()
            await writer.finish()
