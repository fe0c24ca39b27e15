"""A session's microphone: sound in, the user's turns out."""

import asyncio
from typing import Protocol

import numpy as np

from deployments.messages import INPUT_SAMPLE_RATE_HZ
from serve_app.http.realtime import client_events as sent
from serve_app.http.realtime import server_events as events
from serve_app.http.realtime.audio_formats import SoundIn, bytes_of
from serve_app.http.realtime.conversation import Conversation
from serve_app.http.realtime.ids import new_id
from serve_app.http.realtime.input_buffer import InputBuffer
from serve_app.http.realtime.items import MessageItem, Recording
from serve_app.http.realtime.outbox import Outbox
from serve_app.http.realtime.refusals import Refused
from serve_app.http.realtime.session_settings import SessionSettings
from serve_app.http.realtime.turn_models import TurnModels, rule_of
from serve_app.sound.turns import (
    IdleTimeout,
    Interrupts,
    Listener,
    Paused,
    Resumed,
    SpeechStarted,
    SpeechStopped,
    TurnEvent,
)

LEAST_MS = 100  # of sound that is a turn (OpenAI's)
KEPT_MS = 10_000  # of silence, before a turn: longer than any padding
LARGE_CHARS = 128 << 10  # of base64, 2 s of pcm: decoded beside the event loop


class Mind(Protocol):
    """What a session does about turns."""

    async def turn_taken(self, item: MessageItem, responds: bool) -> None:
        """The user has said `item`."""

    async def interrupt(self) -> None:
        """The user speaks into an answer."""

    def is_answering(self) -> bool:
        """Whether an answer is being made or heard."""

    async def guess(self, item: MessageItem) -> None:
        """`item` may be all that the user says."""

    async def drop_guess(self) -> None:
        """The user goes on."""

    def guessed(self) -> MessageItem | None:
        """What `guess` was told, if an answer to it is under way."""


class Hearing:
    """Hears one session."""

    def __init__(
        self,
        turn_models: TurnModels,
        settings: SessionSettings,
        conversation: Conversation,
        outbox: Outbox,
        mind: Mind,
        most_s: float,
    ) -> None:
        """`most_s` of sound may wait to become a turn."""
        self._turn_models = turn_models
        self._settings = settings
        self._conversation = conversation
        self._outbox = outbox
        self._mind = mind
        self._most_ms = 1000 * most_s
        self._buffer = InputBuffer()
        self._sound = SoundIn(settings.input_format)
        self._form = settings.input_format
        self._listener: Listener | None = None
        self._item_id: str | None = None  # of the turn that is being spoken
        self._start_ms = 0  # of that turn
        self._interrupted = False  # by that turn

    async def append(self, event: sent.AudioAppend) -> None:
        """Hear more, and act on the turns in it."""
        await self._hear(await self._samples(event.audio))

    async def _hear(self, samples: np.ndarray) -> None:
        if self._buffer.length_ms + len(samples) * 1000 / INPUT_SAMPLE_RATE_HZ > self._most_ms:
            message = f"more than {self._most_ms / 1000:g} s of sound wait to be committed"
            raise Refused("input_audio_buffer_full", message, "audio")
        self._buffer.push(samples)
        listener = await self._heard_by()
        for turn_event in await listener.hear(samples):
            await self._act(turn_event)
        if self._settings.turns is not None and self._item_id is None:
            self._buffer.keep_last(KEPT_MS)

    async def commit(self, event: sent.AudioCommit) -> None:
        """What was heard is a turn, says the client."""
        await self._hear(self._sound.finish())
        if self._buffer.length_ms < LEAST_MS:
            message = f"the buffer has {self._buffer.length_ms} ms of sound, less than {LEAST_MS}"
            raise Refused("input_audio_buffer_commit_empty", message)
        self._end_turn()
        await self._take(self._buffer.take(), responds=False)

    async def clear(self, event: sent.AudioClear) -> None:
        """Forget what was heard."""
        await self._hear(self._sound.finish())
        self._end_turn()
        self._item_id = None
        self._buffer.clear()
        self._outbox.put(events.cleared())

    def change(self) -> None:
        """Go on by the session's settings as they are now."""
        if self._settings.input_format != self._form:
            self._form = self._settings.input_format
            self._sound = SoundIn(self._form)
        if self._listener is not None:
            self._listener.change(rule_of(self._settings.turns))

    def idle_in(self, seconds: float | None) -> None:
        """In how long nobody says anything any more; None while an answer is made."""
        if self._listener is not None:
            from_ms = None if seconds is None else self._listener.now_ms + round(1000 * seconds)
            self._listener.idle_from(from_ms)

    def close(self) -> None:
        if self._listener is not None:
            self._listener.close()

    async def _samples(self, audio: str) -> np.ndarray:
        def decoded() -> np.ndarray:
            return self._sound.push(bytes_of(audio))

        return await asyncio.to_thread(decoded) if len(audio) > LARGE_CHARS else decoded()

    async def _heard_by(self) -> Listener:
        if self._listener is None:
            self._listener = await self._turn_models.listener(rule_of(self._settings.turns))
        return self._listener

    def _end_turn(self) -> None:
        if self._listener is not None:
            self._listener.end_turn()

    async def _act(self, event: TurnEvent) -> None:
        match event:
            case SpeechStarted(start_ms):
                self._item_id, self._interrupted = new_id("item"), False
                self._start_ms = start_ms
                self._outbox.put(events.speech_started(self._item_id, start_ms))
            case Interrupts():
                await self._interrupt()
            case Paused() if self._item_id is not None:
                samples = self._buffer.peek(self._start_ms)
                item = MessageItem(self._item_id, "user", [Recording(samples)])
                await self._mind.guess(item)
            case Resumed():
                await self._mind.drop_guess()
            case SpeechStopped(start_ms, end_ms):
                await self._stop(start_ms, end_ms)
            case IdleTimeout(start_ms, end_ms):
                self._item_id = new_id("item")
                self._outbox.put(events.timeout_triggered(self._item_id, start_ms, end_ms))
                await self._take(self._buffer.take(start_ms, end_ms), responds=True)

    async def _interrupt(self) -> None:
        turns = self._settings.turns
        if turns is not None and turns.interrupt_response:
            self._interrupted = True
            await self._mind.interrupt()

    async def _stop(self, start_ms: int, end_ms: int) -> None:
        """A turn is over. A sound of assent while an answer is heard asks for no other answer."""
        turns = self._settings.turns
        item_id = self._item_id or new_id("item")
        self._outbox.put(events.speech_stopped(item_id, end_ms))
        may_interrupt = turns is not None and turns.interrupt_response
        assents = may_interrupt and not self._interrupted and self._mind.is_answering()
        responds = turns is not None and turns.create_response and not assents
        await self._take(self._buffer.take(start_ms, end_ms), responds)

    async def _take(self, samples: np.ndarray, responds: bool) -> None:
        item_id, self._item_id = self._item_id or new_id("item"), None
        item = self._mind.guessed()
        if item is None or item.id != item_id:
            item = MessageItem(item_id, "user", [Recording(samples)])
        previous = self._conversation.add(item)
        self._outbox.put(events.committed(item.id, previous))
        self._outbox.put(events.item_added(item.shown(), previous))
        self._outbox.put(events.item_done(item.shown(), previous))
        await self._mind.turn_taken(item, responds)
