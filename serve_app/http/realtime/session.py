"""One session: what each client event does."""

import time
from collections.abc import Callable, Coroutine
from typing import Any

from serve_app.http.access.key_limits import Allowance
from serve_app.http.dependencies import Server
from serve_app.http.errors import log_if_ours
from serve_app.http.realtime import client_events as sent
from serve_app.http.realtime import server_events as events
from serve_app.http.realtime.answering import Answering
from serve_app.http.realtime.client_items import item_of
from serve_app.http.realtime.conversation import Conversation
from serve_app.http.realtime.ears import Ears
from serve_app.http.realtime.hearing import Hearing
from serve_app.http.realtime.ids import new_id
from serve_app.http.realtime.items import MessageItem, Speech
from serve_app.http.realtime.outbox import Outbox
from serve_app.http.realtime.plan import plan_of
from serve_app.http.realtime.recollection import Recollection
from serve_app.http.realtime.refusals import INVALID_VALUE, Refused, error_of
from serve_app.http.realtime.session_settings import Kind, SessionSettings
from serve_app.http.realtime.session_types import Transcription
from serve_app.http.realtime.transcriber import Transcriber

NO_RESPONSE = "Cancellation failed: no active response found"  # LiveKit knows it by these words
Handler = Callable[[Any], Coroutine[Any, Any, None]]


class Session:
    """A client's session. Events are handled one after the other."""

    def __init__(
        self,
        server: Server,
        allowance: Allowance | None,
        kind: Kind,
        model: str,
        request_id: str,
        ears: Ears,
        fail: Callable[[BaseException], None],
    ) -> None:
        """`fail` ends the session; `request_id` names it in logs."""
        self.outbox = Outbox()
        self.settings = SessionSettings(server, new_id("sess"), kind, model)
        self._server = server
        self._request_id = request_id
        self._requests = 0
        self._conversation_id = new_id("conv")
        self._conversation = Conversation()
        parts = (server.backend, allowance, self.outbox)
        recollection = Recollection(server.settings.realtime.context_tokens)
        self._answering = Answering(*parts, self._conversation, recollection, self._answered, fail)
        self._transcriber = Transcriber(*parts, fail)
        self._hearing = Hearing(
            ears,
            self.settings,
            self._conversation,
            self.outbox,
            self,
            most_s=server.settings.max_audio_s,
        )
        self._handlers: dict[type, Handler] = {
            sent.SessionUpdate: self._update,
            sent.AudioAppend: self._hearing.append,
            sent.AudioCommit: self._hearing.commit,
            sent.AudioClear: self._hearing.clear,
            sent.OutputClear: self._nothing,
            sent.ItemCreate: self._create_item,
            sent.ItemRetrieve: self._retrieve_item,
            sent.ItemDelete: self._delete_item,
            sent.ItemTruncate: self._truncate_item,
            sent.ResponseCreate: self._create_response,
            sent.ResponseCancel: self._cancel_response,
        }

    async def open(self, given: dict[str, Any]) -> None:
        """Begin with the settings that a client secret brings, perhaps none."""
        limit_s = self._server.settings.realtime.max_session_s
        self.settings.expires_at = int(time.time() + limit_s)
        await self.settings.open()
        await self.settings.update(given)
        self.outbox.put(events.session("created", self.settings.told()))

    async def handle(self, value: dict[str, Any]) -> bool:
        """Do what a client event says, or answer it with an error. Whether it was done."""
        try:
            event = sent.event_of(value)
            await self._handlers[type(event)](event)
        except Exception as error:
            log_if_ours(error)
            self.refuse(error, value.get("event_id"))
            return False
        return True

    def refuse(self, error: BaseException, event_id: Any = None) -> None:
        """Answer an event with an error."""
        named = event_id if isinstance(event_id, str) else None
        self.outbox.put(events.error(error_of(error), named and named[: sent.MAX_EVENT_ID_CHARS]))

    async def close(self) -> None:
        """Stop all that is under way."""
        self._hearing.close()
        await self._answering.close()
        await self._transcriber.close()

    async def _nothing(self, event: Any) -> None:
        pass

    async def _update(self, event: sent.SessionUpdate) -> None:
        await self.settings.update(event.session)
        self._hearing.change()
        self.outbox.put(events.session("updated", self.settings.told()))

    # Items

    async def _create_item(self, event: sent.ItemCreate) -> None:
        item = await item_of(event.item, self.settings.input_format)
        previous = self._conversation.add(item, event.previous_item_id)
        self.outbox.put(events.item_added(item.shown(), previous))
        self.outbox.put(events.item_done(item.shown(), previous))

    async def _retrieve_item(self, event: sent.ItemRetrieve) -> None:
        item = self._conversation.find(event.item_id, "retrieve")
        self.outbox.put(events.item_retrieved(item.shown()))

    async def _delete_item(self, event: sent.ItemDelete) -> None:
        self._conversation.remove(event.item_id)
        self.outbox.put(events.item_deleted(event.item_id))

    async def _truncate_item(self, event: sent.ItemTruncate) -> None:
        """Cut a spoken turn where it was heard. Behind its end there is nothing to cut."""
        item = self._conversation.find(event.item_id, "truncate")
        content = item.content if isinstance(item, MessageItem) else []
        speech = content[event.content_index] if event.content_index < len(content) else None
        if not isinstance(speech, Speech):
            raise Refused(INVALID_VALUE, "there is no sound of the assistant", "content_index")
        heard_s = min(event.audio_end_ms / 1000, speech.sent_s)
        speech.cut(heard_s)
        told = events.item_truncated(item.id, event.content_index, round(1000 * heard_s))
        self.outbox.put(told)

    # Turns of the user

    async def turn_taken(self, item: MessageItem, responds: bool) -> None:
        """The user has said `item`: write it down, and answer it if that is asked for."""
        how = self.settings.fields.input.transcription
        if how is not None or self.settings.is_transcription:
            self._transcriber.begin(item, how or Transcription(), self._next_request_id())
        if responds and not self.settings.is_transcription and self._answering.active is None:
            await self._respond(sent.ResponseFields())

    async def interrupt(self) -> None:
        """Stop the answer that is being made; of one that is still heard, keep what was heard."""
        await self._answering.interrupt()

    def is_answering(self) -> bool:
        return self._answering.is_heard()

    def _answered(self, left_s: float) -> None:
        """A response has ended, whose sound plays for so much longer."""
        self._hearing.idle_from(self._hearing.now_ms + round(1000 * left_s))

    # Responses

    async def _create_response(self, event: sent.ResponseCreate) -> None:
        await self._respond(event.response or sent.ResponseFields())

    async def _respond(self, fields: sent.ResponseFields) -> None:
        if self.settings.is_transcription:
            raise Refused(INVALID_VALUE, "a transcription session has no responses", "type")
        plan = await plan_of(fields, self.settings, self._conversation)
        self._answering.begin(
            plan,
            self.settings.fields.truncation,
            self._conversation_id,
            self._next_request_id(),
        )
        self.settings.has_spoken |= plan.spoken
        self._hearing.idle_from(None)

    def _next_request_id(self) -> str:
        self._requests += 1
        return f"{self._request_id}/{self._requests}"

    async def _cancel_response(self, event: sent.ResponseCancel) -> None:
        active = self._answering.active
        if active is None or event.response_id not in (None, active.id):
            raise Refused("response_cancel_not_active", NO_RESPONSE)
        await self._answering.cancel("client_cancelled")
