"""One session: what each client event does."""

import time
from collections.abc import Callable
from typing import Any

from serve_app.http.access.key_limits import Allowance
from serve_app.http.dependencies import Server
from serve_app.http.realtime import client_events as sent
from serve_app.http.realtime import server_events as events
from serve_app.http.realtime.client_items import item_of
from serve_app.http.realtime.dialogue import Dialogue
from serve_app.http.realtime.event_handling import Handler, handled, refuse
from serve_app.http.realtime.hearing import Hearing
from serve_app.http.realtime.ids import new_id
from serve_app.http.realtime.items import MessageItem, Speech
from serve_app.http.realtime.open_sessions import Sessions
from serve_app.http.realtime.outbox import Outbox
from serve_app.http.realtime.refusals import INVALID_VALUE, Refused
from serve_app.http.realtime.session_settings import Kind, SessionSettings
from serve_app.http.realtime.turn_models import TurnModels


class Session:
    """A client's session. Events are handled one after the other."""

    def __init__(
        self,
        server: Server,
        allowance: Allowance | None,
        turn_models: TurnModels,
        sessions: Sessions,
        kind: Kind,
        model: str,
        request_id: str,
        fail: Callable[[BaseException], None],
    ) -> None:
        """`fail` ends the session; `request_id` names it in logs."""
        self.outbox = Outbox()
        self._most_s = server.settings.realtime.max_session_s
        self._settings = SessionSettings(server, new_id("sess"), kind, model)
        self._dialogue = Dialogue(
            server, allowance, sessions, self._settings, self.outbox, request_id, fail
        )
        self._conversation = self._dialogue.conversation
        self._hearing = Hearing(
            turn_models,
            self._settings,
            self._conversation,
            self.outbox,
            self._dialogue,
            most_s=server.settings.max_audio_s,
        )
        self._dialogue.when_quiet = self._hearing.idle_in
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
        self._settings.expires_at = int(time.time() + self._most_s)
        await self._settings.open()
        await self._settings.update(given)
        self.outbox.put(events.session("created", self._settings.told()))

    async def handle(self, value: dict[str, Any]) -> bool:
        """Do what a client event says, or answer it with an error. Whether it was done."""
        return await handled(value, sent.event_of, self._handlers, self.outbox)

    def refuse(self, error: BaseException, event_id: Any = None) -> None:
        """Answer an event with an error."""
        refuse(self.outbox, error, event_id)

    def is_answering(self) -> bool:
        """Whether an answer is being made or heard."""
        return self._dialogue.is_answering()

    async def close(self) -> None:
        """Stop all that is under way."""
        self._hearing.close()
        await self._dialogue.close()

    async def _nothing(self, event: Any) -> None:
        pass

    async def _update(self, event: sent.SessionUpdate) -> None:
        await self._settings.update(event.session)
        await self._dialogue.drop_guess()
        self._hearing.change()
        self.outbox.put(events.session("updated", self._settings.told()))

    async def _create_item(self, event: sent.ItemCreate) -> None:
        item = await item_of(event.item, self._settings.input_format)
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
        """Cut a spoken turn where it was heard. Behind its end there is nothing to cut.

        Nor is there of an item of an earlier session. Pipecat truncates one after it has connected
        anew, and an error would end its call.
        """
        if not self._conversation.has(event.item_id):
            unknown = (event.item_id, event.content_index, event.audio_end_ms)
            self.outbox.put(events.item_truncated(*unknown))
            return
        item = self._conversation.find(event.item_id, "truncate")
        content = item.content if isinstance(item, MessageItem) else []
        speech = content[event.content_index] if event.content_index < len(content) else None
        if not isinstance(speech, Speech):
            raise Refused(INVALID_VALUE, "there is no sound of the assistant", "content_index")
        heard_s = min(event.audio_end_ms / 1000, speech.sent_s)
        speech.cut(heard_s)
        told = events.item_truncated(item.id, event.content_index, round(1000 * heard_s))
        self.outbox.put(told)

    async def _create_response(self, event: sent.ResponseCreate) -> None:
        await self._dialogue.respond(event.response or sent.ResponseFields())

    async def _cancel_response(self, event: sent.ResponseCancel) -> None:
        await self._dialogue.cancel(event.response_id)
