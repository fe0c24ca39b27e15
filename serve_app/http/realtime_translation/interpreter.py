"""Phrases in one language in, speech in another one out: in their order, one after the other."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager, aclosing, nullcontext
from typing import Any

import numpy as np

from deployments.messages import (
    INPUT_SAMPLE_RATE_HZ,
    SamplingOptions,
    SpeechRequest,
    ThinkerRequest,
)
from deployments.thinker import tasks
from serve_app.graph.answers import audible, uncut
from serve_app.graph.backend import Backend
from serve_app.http.access.key_limits import Allowance
from serve_app.http.errors import log_if_ours
from serve_app.http.realtime import server_events
from serve_app.http.realtime.audio_formats import base64_pieces
from serve_app.http.realtime.content_writers import MAX_SOUND_BYTES
from serve_app.http.realtime.outbox import ClientTooSlow, Outbox
from serve_app.http.realtime.refusals import error_of
from serve_app.http.realtime.session_ends import closed_by_client
from serve_app.http.realtime_translation import translation_events as events
from serve_app.http.realtime_translation.own_voice import OwnVoice
from serve_app.http.realtime_translation.running_text import RunningText
from serve_app.http.realtime_translation.translation_settings import TranslationSettings
from serve_app.http.transcription.length import most_tokens
from serve_app.sound.recording_pieces import Piece

MOST_WAITING = 8  # phrases; a client that sends more sound waits until one is spoken


class Interpreter:
    """Interprets one session.

    An answer is made faster than it plays, so the sound of one phrase follows that of the phrase
    before. A phrase that fails is told as an error, and the next one goes on.
    """

    def __init__(
        self,
        backend: Backend,
        allowance: Allowance | None,
        settings: TranslationSettings,
        outbox: Outbox,
        request_id: str,
        fail: Callable[[BaseException], None],
    ) -> None:
        """`fail` ends the session; each phrase's request is `request_id` and a number."""
        self._backend = backend
        self._allowance = allowance
        self._settings = settings
        self._outbox = outbox
        self._request_id = request_id
        self._fail = fail
        self._own_voice = OwnVoice()
        self._source, self._translation = RunningText(), RunningText()
        self._phrases: asyncio.Queue[Piece | None] = asyncio.Queue(MOST_WAITING)
        self._number = 0  # of phrases so far
        self._is_speaking = False
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def take(self, phrase: Piece) -> None:
        """Interpret one more phrase, once there is room for it."""
        await self._phrases.put(phrase)

    async def end(self) -> None:
        """End the session after the last phrase."""
        await self._phrases.put(None)

    def is_speaking(self) -> bool:
        """Whether a phrase is being interpreted, or waits."""
        return self._is_speaking or not self._phrases.empty()

    async def close(self) -> None:
        """Stop the phrase under way, which frees both stages."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while (phrase := await self._phrases.get()) is not None:
            self._is_speaking = True
            await self._interpret(phrase)
            self._is_speaking = False
        await self._told(self._end())

    async def _end(self) -> None:
        self._outbox.put(events.closed())
        self._fail(closed_by_client())

    async def _interpret(self, phrase: Piece) -> None:
        self._number += 1
        request_id = f"{self._request_id}.{self._number}"
        at_ms = events.elapsed_ms(phrase.end_s)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._told(self._speak(phrase.samples, request_id, at_ms)))
            if self._settings.writes_source:
                source = self._write(phrase.samples, f"{request_id}.source", at_ms)
                group.create_task(self._told(source))

    async def _told(self, work: Coroutine[Any, Any, None]) -> None:
        """Do `work`; what fails is told to the client, unless that one reads nothing any more."""
        try:
            await work
        except ClientTooSlow as error:
            self._fail(error)
        except Exception as error:
            log_if_ours(error)
            await self._told(self._tell(error))

    async def _tell(self, error: BaseException) -> None:
        self._outbox.put(server_events.error(error_of(error), None))

    async def _speak(self, samples: np.ndarray, request_id: str, at_ms: int) -> None:
        """Say in the other language what is said."""
        voice = self._settings.voice or self._own_voice.hear(samples)
        messages = tasks.speech_to_speech_translation(samples, self._settings.language)
        request = SpeechRequest(ThinkerRequest(request_id, messages, reply="speech"), voice)
        self._translation.begin_phrase()
        answer = audible(uncut(self._backend.speech(request)), "this phrase")
        with self._counted():
            async with aclosing(answer) as deltas:
                async for delta in deltas:
                    if text := self._translation.next(delta.text):
                        self._outbox.put(events.output_transcript(text, at_ms))
                    for sound in base64_pieces(delta.pcm, MAX_SOUND_BYTES):
                        self._outbox.put(events.output_audio(sound, at_ms))
                    await self._outbox.room()

    async def _write(self, samples: np.ndarray, request_id: str, at_ms: int) -> None:
        """Write down what is said: a second request."""
        limit = most_tokens(len(samples) / INPUT_SAMPLE_RATE_HZ)
        sampling = SamplingOptions(temperature=0.0, max_tokens=limit)
        request = ThinkerRequest(request_id, tasks.transcribe(samples), sampling=sampling)
        self._source.begin_phrase()
        with self._counted():
            async with aclosing(uncut(self._backend.text(request))) as deltas:
                async for delta in deltas:
                    if text := self._source.next(delta.text):
                        self._outbox.put(events.input_transcript(text, at_ms))

    def _counted(self) -> AbstractContextManager[None]:
        return self._allowance.stream() if self._allowance else nullcontext()
