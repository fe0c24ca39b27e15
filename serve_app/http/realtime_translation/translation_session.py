"""One interpreter's session: what each client event does."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from serve_app.http.access.key_limits import Allowance
from serve_app.http.dependencies import Server
from serve_app.http.realtime import server_events
from serve_app.http.realtime.audio_formats import SoundIn, bytes_of
from serve_app.http.realtime.event_handling import Handler, handled, refuse
from serve_app.http.realtime.hearing import LARGE_CHARS
from serve_app.http.realtime.ids import new_id
from serve_app.http.realtime.outbox import Outbox
from serve_app.http.realtime.refusals import Refused
from serve_app.http.realtime.session_types import SoundFormat
from serve_app.http.realtime_translation import translation_events as sent
from serve_app.http.realtime_translation.interpreter import Interpreter
from serve_app.http.realtime_translation.phrases import Phrases
from serve_app.http.realtime_translation.translation_settings import TranslationSettings


class TranslationSession:
    """A speaker's session. Events are handled one after the other."""

    def __init__(
        self,
        server: Server,
        allowance: Allowance | None,
        model: str,
        request_id: str,
        fail: Callable[[BaseException], None],
    ) -> None:
        """`fail` ends the session; `request_id` names it in logs."""
        self.outbox = Outbox()
        self._most_s = server.settings.realtime.max_session_s
        self._settings = TranslationSettings(server, new_id("sess"), model)
        self._interpreter = Interpreter(
            server.backend, allowance, self._settings, self.outbox, request_id, fail
        )
        self._sound = SoundIn(SoundFormat())
        self._phrases = Phrases()
        self._is_ending = False
        self._handlers: dict[type, Handler] = {
            sent.SessionUpdate: self._update,
            sent.AudioAppend: self._append,
            sent.SessionClose: self._end,
        }

    async def open(self, given: dict[str, Any]) -> None:
        """Begin with the settings that a client secret brings, perhaps none."""
        self._settings.expires_at = int(time.time() + self._most_s)
        await self._settings.open()
        await self._settings.update(given)
        self._interpreter.begin()
        self.outbox.put(server_events.session("created", self._settings.told()))

    async def handle(self, value: dict[str, Any]) -> bool:
        """Do what a client event says, or answer it with an error. Whether it was done."""
        return await handled(value, sent.event_of, self._handlers, self.outbox)

    def refuse(self, error: BaseException, event_id: Any = None) -> None:
        """Answer an event with an error."""
        refuse(self.outbox, error, event_id)

    def is_answering(self) -> bool:
        """Whether a phrase is being interpreted, or waits."""
        return self._interpreter.is_speaking()

    async def close(self) -> None:
        """Stop all that is under way."""
        await self._interpreter.close()

    async def _update(self, event: sent.SessionUpdate) -> None:
        await self._settings.update(event.session)
        self.outbox.put(server_events.session("updated", self._settings.told()))

    async def _append(self, event: sent.AudioAppend) -> None:
        self._require_open()
        is_large = len(event.audio) > LARGE_CHARS
        data = await asyncio.to_thread(bytes_of, event.audio) if is_large else bytes_of(event.audio)
        for phrase in await self._phrases.push(self._sound.push(data)):
            await self._interpreter.take(phrase)

    async def _end(self, event: sent.SessionClose) -> None:
        self._require_open()
        self._is_ending = True
        last = await self._phrases.push(self._sound.finish())
        for phrase in [*last, *await self._phrases.finish()]:
            await self._interpreter.take(phrase)
        await self._interpreter.end()

    def _require_open(self) -> None:
        if self._is_ending:
            raise Refused("session_closing", "the session is being closed: it takes no more sound")
