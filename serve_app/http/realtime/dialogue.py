"""What a session does about turns: it answers them, writes them down, and is interrupted."""

from collections.abc import Callable
from dataclasses import replace

from deployments.errors import PromptTooLong
from serve_app.http.access.key_limits import Allowance
from serve_app.http.dependencies import Server
from serve_app.http.realtime.answering import Answering, Asked
from serve_app.http.realtime.client_events import ResponseFields
from serve_app.http.realtime.context_window import ContextWindow
from serve_app.http.realtime.conversation import Conversation
from serve_app.http.realtime.items import MessageItem
from serve_app.http.realtime.open_sessions import Sessions
from serve_app.http.realtime.outbox import Outbox
from serve_app.http.realtime.refusals import INVALID_VALUE, Refused
from serve_app.http.realtime.response_plan import Plan, plan_of
from serve_app.http.realtime.session_settings import SessionSettings
from serve_app.http.realtime.session_types import Transcription
from serve_app.http.realtime.speculation import Speculation, Trial
from serve_app.http.realtime.transcriber import Transcriber

NO_RESPONSE = "Cancellation failed: no active response found"  # LiveKit knows it by these words


class Dialogue:
    """The turns of one session, the user's and the assistant's. Implements `hearing.Mind`."""

    def __init__(
        self,
        server: Server,
        allowance: Allowance | None,
        sessions: Sessions,
        settings: SessionSettings,
        outbox: Outbox,
        request_id: str,
        fail: Callable[[BaseException], None],
    ) -> None:
        """`fail` ends the session; the ids of the graph's requests begin with `request_id`."""
        self.conversation = Conversation(server.settings.max_audio_s)
        self._settings = settings
        self._speculative = server.settings.realtime.speculative
        self._request_id, self._requests = request_id, 0
        self._context_window = ContextWindow(server.settings.realtime.context_tokens)
        parts = (server.backend, allowance, outbox)
        self._answering = Answering(
            *parts, self.conversation, self._context_window, self._ended, fail
        )
        self._transcriber = Transcriber(*parts, fail)
        self._speculation = Speculation(self.conversation, sessions, self._answering.deltas)
        self.when_quiet: Callable[[float | None], None] = lambda left_s: None
        """Hears in how many seconds the answer's sound ends; None while an answer is made."""

    async def respond(self, fields: ResponseFields, trial: Trial | None = None) -> None:
        """Begin a response.

        Raises:
            Refused: there are none here, or one is under way.
            StepAudioError: a field asks for what there is not.
        """
        if self._settings.is_transcription:
            raise Refused(INVALID_VALUE, "a transcription session has no responses", "type")
        plan = trial.plan if trial else await plan_of(fields, self._settings, self.conversation)
        truncation = self._settings.fields.truncation
        asked = Asked(plan, truncation, self._next_request_id(), trial)
        self._answering.begin(asked)
        self._settings.has_spoken |= plan.spoken
        self.when_quiet(None)

    async def cancel(self, response_id: str | None) -> None:
        """Stop the response under way, as the client wants it.

        Raises:
            Refused: there is none.
        """
        active = self._answering.active
        if active is None or response_id not in (None, active.id):
            raise Refused("response_cancel_not_active", NO_RESPONSE)
        await self._answering.cancel("client_cancelled")

    async def close(self) -> None:
        """Stop all that is under way."""
        await self._speculation.drop()
        await self._answering.close()
        await self._transcriber.close()

    async def turn_taken(self, item: MessageItem, responds: bool) -> None:
        """The user has said `item`: write it down, and answer it if that is asked for."""
        how = self._settings.fields.input.transcription
        if how is not None or self._settings.is_transcription:
            self._transcriber.begin(item, how or Transcription(), self._next_request_id())
        trial = self._speculation.take(item)
        await self._speculation.drop()
        if responds and not self._settings.is_transcription and self._answering.active is None:
            await self.respond(ResponseFields(), trial)
        elif trial is not None:
            await trial.drop()

    async def interrupt(self) -> None:
        """Stop the answer that is being made; of one that is still heard, keep what was heard."""
        await self._answering.interrupt()

    def is_answering(self) -> bool:
        """Whether an answer is being made or heard."""
        return self._answering.is_heard()

    async def guess(self, item: MessageItem) -> None:
        """Begin an answer to the turn so far, if the configuration says so."""
        turns = self._settings.turns
        responds = turns is not None and turns.create_response
        is_free = not self._settings.is_transcription and not self.is_answering()
        if self._speculative and responds and is_free and (plan := await self._plan(item)):
            await self._speculation.begin(item, plan, self._next_request_id())

    async def drop_guess(self) -> None:
        """The turn goes on."""
        await self._speculation.drop()

    def guessed(self) -> MessageItem | None:
        """The turn that is being answered already."""
        return self._speculation.item()

    async def _plan(self, item: MessageItem) -> Plan | None:
        """Of an answer to `item`, which is not in the conversation yet."""
        plan = await plan_of(ResponseFields(), self._settings, self.conversation)
        plan = replace(plan, items=[*plan.items, item])
        try:
            return self._context_window.fit(plan, self._settings.fields.truncation)
        except PromptTooLong:  # the answer itself will say so
            return None

    def _ended(self, left_s: float) -> None:
        self.when_quiet(left_s)

    def _next_request_id(self) -> str:
        self._requests += 1
        return f"{self._request_id}/{self._requests}"
