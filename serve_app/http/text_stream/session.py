"""What a client may send and when, and what becomes of it."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import nullcontext

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.websockets import WebSocketDisconnect

from deployments.errors import RequestError, StepAudioError, UnknownVoice
from deployments.messages import OUTPUT_SAMPLE_RATE_HZ, SpeechDelta, Voice
from serve_app.graph.answers import all_of, audible, uncut
from serve_app.http.access.key_limits import Allowance
from serve_app.http.dependencies import Server
from serve_app.http.errors import log_if_ours
from serve_app.http.speech.asking import speech_request
from serve_app.http.text_stream.connection import NORMAL, POLICY, RESTART, Closing, Connection
from serve_app.http.text_stream.speaker import Speaker, Spoken
from serve_app.http.text_stream.types import (
    ClientFrame,
    ErrorFrame,
    InputCancel,
    InputDone,
    InputText,
    SessionClose,
    SessionConfig,
    SessionConfigured,
    read_frame,
)
from serve_app.http.text_stream.utterance import Utterance
from serve_app.sound.text_passages import Passage

MOST_TEXT_CHARS = 128 << 10  # of a frame; vLLM-Omni's and SGLang-Omni's limit too
MOST_WAITING = 8  # texts that are not spoken to their end, the one being written among them
MOST_REFUSED = 32  # frames of a connection


class Session:
    """One connection, from its acceptance to its end.

    One task reads frames and another speaks, so that a client can write and cancel while it
    listens. However the connection ends, neither stage holds anything of it afterwards.
    """

    def __init__(
        self, connection: Connection, server: Server, allowance: Allowance | None, request_id: str
    ) -> None:
        self._connection = connection
        self._server = server
        self._request_id = request_id
        self._speaker = Speaker(
            self._ask,
            connection.send,
            server.settings.max_passage_s,
            allowance.stream if allowance else nullcontext,
        )
        self._config: SessionConfig | None = None
        self._voice: Voice = None
        self._texts = 0  # that were begun
        self._refused = 0

    async def run(self, draining: Awaitable[None]) -> None:
        """Serve until the client leaves, says so, or breaks a rule, or until `draining` ends."""
        tasks = [
            asyncio.create_task(work)
            for work in (self._read(), self._speaker.run(), _restart(draining))
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            await done.pop()
        except Closing as closing:
            await self._connection.close(closing)
        except (WebSocketDisconnect, OSError):
            pass  # the client is gone
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self) -> None:
        while True:
            data = await self._connection.receive(self._limit(), lambda: not self._speaker.is_busy)
            try:
                await self._take(read_frame(data))
            except (HTTPException, RequestValidationError, StepAudioError) as error:
                await self._refuse(error)

    def _limit(self) -> int:
        """Of the next frame: a config may hold a recording."""
        if self._written() is None:
            return self._server.settings.max_upload_bytes
        return MOST_TEXT_CHARS

    async def _refuse(self, error: Exception) -> None:
        log_if_ours(error)
        await self._connection.send(ErrorFrame.of(error))
        self._refused += 1
        if self._config is None or self._refused >= MOST_REFUSED:
            raise Closing(POLICY, "the error event says what was wrong")

    async def _take(self, frame: ClientFrame) -> None:
        match frame:
            case SessionConfig():
                await self._configure(frame)
            case InputText():
                self._write(frame.text)
            case InputDone():
                self._last_text().end()
            case InputCancel():
                self._speaker.cancel()
            case SessionClose():
                raise Closing(NORMAL, "the client has closed the session")

    async def _configure(self, config: SessionConfig) -> None:
        if self._written() is not None:
            raise RequestError("session.config comes between texts: send input.done first")
        if config.model is not None:
            self._server.require_model(config.model)
        voice = await self._server.voice(config.voice, "voice")
        known = await self._server.backend.voices()
        if isinstance(voice, str) and voice not in known:
            raise UnknownVoice(voice, known=known)
        self._config, self._voice = config, voice
        configured = SessionConfigured(
            session_id=self._request_id,
            response_format=config.response_format,
            stream_format=config.stream_format,
            sample_rate=OUTPUT_SAMPLE_RATE_HZ,
        )
        await self._connection.send(configured)

    def _write(self, piece: str) -> None:
        text, limit = self._last_text(), self._server.settings.max_input_chars
        if text.characters + len(piece) > limit:
            message = f"a text may have {limit} characters; those of this frame are not spoken"
            raise RequestError(message, param="text")
        text.write(piece)

    def _written(self) -> Utterance | None:
        """The text that is being written."""
        waiting = self._speaker.waiting
        return waiting[-1].text if waiting and not waiting[-1].text.has_ended else None

    def _last_text(self) -> Utterance:
        """The text that is being written, which may begin now."""
        if (text := self._written()) is not None:
            return text
        if self._config is None:
            raise RequestError("the first frame must be session.config", param="type")
        if len(self._speaker.waiting) >= MOST_WAITING:
            raise RequestError(f"{MOST_WAITING} texts wait already: wait for a session.done")
        text = Utterance(self._server.settings.max_passage_s)
        self._speaker.add(Spoken(self._texts, self._config, self._voice, text))
        self._texts += 1
        return text

    def _ask(self, one: Spoken, parts: Sequence[Passage]) -> AsyncGenerator[SpeechDelta]:
        request = speech_request(one.config, parts, one.voice, f"{self._request_id}.{one.index}")
        answer = audible(uncut(self._server.backend.speech(request)), "this text")
        return all_of(answer, answers=len(parts))


async def _restart(draining: Awaitable[None]) -> None:
    await draining
    raise Closing(RESTART, "the server restarts: another replica takes the next connection")
