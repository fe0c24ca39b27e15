"""The responses of one session: one at a time, each in a task that can be stopped."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, nullcontext
from dataclasses import dataclass

from deployments.errors import PromptTooLong
from deployments.messages import SpeechRequest
from deployments.ray_failures import unwrap
from serve_app.graph.answers import Delta, complete
from serve_app.graph.backend import Backend
from serve_app.http.access.key_limits import Allowance
from serve_app.http.errors import log_if_ours
from serve_app.http.realtime import server_events as events
from serve_app.http.realtime.context_window import ContextWindow
from serve_app.http.realtime.conversation import Conversation
from serve_app.http.realtime.ids import new_id
from serve_app.http.realtime.items import Speech
from serve_app.http.realtime.outbox import ClientTooSlow, Outbox
from serve_app.http.realtime.refusals import Refused
from serve_app.http.realtime.response import Reason, Response
from serve_app.http.realtime.response_plan import Plan
from serve_app.http.realtime.response_writer import ResponseWriter
from serve_app.http.realtime.session_types import Truncation
from serve_app.http.realtime.speculation import Trial

TRIES = 3  # of a prompt that was too long; each is shorter than the one before


@dataclass(frozen=True, slots=True)
class Asked:
    """A response that is to be made."""

    plan: Plan
    truncation: Truncation | None  # what may be forgotten to make its prompt fit
    request_id: str
    trial: Trial | None = None  # that has begun already


class Answering:
    """Asks the graph, and writes what it answers."""

    def __init__(
        self,
        backend: Backend,
        allowance: Allowance | None,
        outbox: Outbox,
        conversation: Conversation,
        context_window: ContextWindow,
        ended: Callable[[float], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        """`ended` hears of each end, with the seconds that its sound plays on; `fail` ends the
        session.
        """
        self._backend = backend
        self._allowance = allowance
        self._outbox = outbox
        self._conversation = conversation
        self._context_window = context_window
        self._ended = ended
        self._fail = fail
        self._speech: Speech | None = None  # that was spoken last
        self._writer: ResponseWriter | None = None
        self._task: asyncio.Task[None] | None = None
        self._trial: Trial | None = None  # of the response under way
        self._conversation_id = new_id("conv")

    @property
    def active(self) -> Response | None:
        """The response under way."""
        return self._writer.response if self._writer else None

    def begin(self, asked: "Asked") -> Response:
        """Begin a response.

        Raises:
            Refused: one is under way.
        """
        if self.active is not None:
            message = f"Conversation already has an active response: {self.active.id}"
            raise Refused("conversation_already_has_active_response", message)
        response = Response(asked.plan, self._conversation_id)
        writer = ResponseWriter(response, self._conversation, self._outbox.put)
        writer.begin()
        self._writer = writer
        self._trial = asked.trial
        self._task = asyncio.create_task(self._run(writer, asked))
        return response

    async def cancel(self, reason: Reason) -> Response | None:
        """Stop the response under way: its generator is closed, which frees both stages."""
        writer = self._writer
        if writer is None:
            return None
        await self.close()
        self._writer = None
        self._outbox.drop_sound()
        if writer.response.status == "in_progress":
            writer.cancel(reason)
        return writer.response

    async def interrupt(self) -> None:
        """Stop the response under way, and forget of the last sound what nobody has heard."""
        await self.cancel("turn_detected")
        speech, now_s = self._speech, time.monotonic()
        if speech is not None and speech.plays_for_s(now_s) > 0:
            speech.cut(speech.played_s(now_s))
        self._speech = None

    def is_heard(self) -> bool:
        """Whether an answer is being made, or its sound still plays."""
        speech = self._speech
        return self.active is not None or (
            speech is not None and speech.plays_for_s(time.monotonic()) > 0
        )

    async def close(self) -> None:
        """Stop the response under way, of which nobody hears any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._trial is not None:  # a task that has not begun leaves it open
            await self._trial.drop()

    def deltas(self, plan: Plan, request_id: str) -> AsyncGenerator[Delta]:
        """The graph's answer. Its turns go to the same replica, which knows how they begin."""
        thinker = plan.thinker_request(request_id, self._conversation_id)
        if plan.spoken:
            speech = SpeechRequest(thinker, plan.voice, speed=plan.speed)
            return complete(self._backend.speech(speech))
        return complete(self._backend.text(thinker))

    async def _run(self, writer: ResponseWriter, asked: "Asked") -> None:
        try:
            await self._written(writer, asked)
        except ClientTooSlow as error:
            self._fail(error)
        finally:
            self._writer = None
            self._speech = writer.speech
            self._ended(writer.speech.plays_for_s(time.monotonic()) if writer.speech else 0.0)

    async def _written(self, writer: ResponseWriter, asked: "Asked") -> None:
        try:
            with self._allowance.stream() if self._allowance else nullcontext():
                self._tell_what_is_left()
                await self._fitted(writer, asked)
            await writer.finish()
        except ClientTooSlow:
            raise
        except Exception as error:
            log_if_ours(error)
            writer.fail(error)

    def _tell_what_is_left(self) -> None:
        """Of the requests that the session's key may send."""
        left = self._allowance.requests_left() if self._allowance else None
        if left is not None:
            self._outbox.put(events.rate_limits(left.limit, left.remaining, left.reset_s))

    async def _fitted(self, writer: ResponseWriter, asked: "Asked") -> None:
        """Answer; where the prompt turns out to be too long, forget some of it and try again."""
        if asked.trial is not None and await self._from_trial(writer, asked.trial):
            return
        plan = self._context_window.fit(asked.plan, asked.truncation)
        for left in reversed(range(TRIES)):
            try:
                return await self._answer(writer, plan, self.deltas(plan, asked.request_id))
            except Exception as error:
                too_long = unwrap(error)
                if not isinstance(too_long, PromptTooLong) or not left or not plan.remembers:
                    raise
            self._context_window.refused(plan, too_long)
            plan = self._context_window.fit(plan, asked.truncation)

    async def _from_trial(self, writer: ResponseWriter, trial: Trial) -> bool:
        """Whether the answer that was begun on trial is one."""
        try:
            await self._answer(writer, trial.plan, trial.deltas())
        except Exception:
            if writer.response.output:
                raise
            return False
        return True

    async def _answer(
        self, writer: ResponseWriter, plan: Plan, answer: AsyncGenerator[Delta]
    ) -> None:
        async with aclosing(answer) as deltas:
            async for delta in deltas:
                await writer.take(delta)
                await self._outbox.room()
                if delta.usage:
                    self._context_window.learn(plan, delta.usage)
