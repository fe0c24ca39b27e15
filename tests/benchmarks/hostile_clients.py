"""Honest and hostile clients of one server, each asking again as soon as it is answered."""

import asyncio
import base64
import io
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import httpx
import numpy as np
import soundfile

from tests.benchmarks.hostile_sounds import HostileSound

TIMEOUT_S = 300.0
REFUSALS = frozenset({429, 503})  # a server that is full says so; it is asked again
RETRY_AFTER_S = 1.0
HEALTH_EVERY_S = 0.5
MIN_PEAK = 1e-4  # of full scale; below that an answer aloud is silence
TRANSCRIPTION, CHAT, ALOUD = "transcription", "chat", "aloud"
HONEST_KINDS = (TRANSCRIPTION, CHAT, ALOUD)
HOSTILE_KINDS = (TRANSCRIPTION, CHAT)


@dataclass(frozen=True, slots=True)
class HonestSound:
    """A recording that anybody might send."""

    wav: bytes
    sentence: str | None = None  # what is said, where that is known


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one request."""

    kind: str
    of: str  # the sentence of an honest recording, the name of a hostile one
    status: int  # of HTTP; 0 where the connection failed
    latency_s: float
    text: str = ""
    problem: str | None = None  # of an answer with status 200: why it is nonsense

    @property
    def refused(self) -> bool:
        return self.status in REFUSALS


@dataclass(frozen=True, slots=True)
class Server:
    """Where clients ask, and how long answers may be."""

    url: str  # without the version, such as http://127.0.0.1:8000
    model: str
    max_tokens: int | None = None  # of chat completions
    audio_s: float | None = None  # of every answer aloud, where that is known


class Clients:
    """Requests of one kind or another to a server. Use as a context manager."""

    def __init__(self, server: Server, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._server = server
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        self._http = httpx.AsyncClient(
            base_url=server.url,
            timeout=TIMEOUT_S,
            limits=limits,
            transport=transport,
            trust_env=False,
        )

    async def __aenter__(self) -> "Clients":
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._http.aclose()

    async def honest(
        self, kinds: Sequence[str], sounds: Sequence[HonestSound], count: int, until_s: float
    ) -> list[Answer]:
        """What `count` clients are answered that ask until the clock says `until_s`."""
        asked = itertools.cycle(itertools.product(sounds, kinds))
        loops = (self._honest_loop(asked, until_s) for _ in range(count))
        return list(itertools.chain(*await asyncio.gather(*loops)))

    async def hostile(
        self, sounds: Sequence[HostileSound], count: int, until_s: float
    ) -> list[Answer]:
        """The same with recordings that must be refused."""
        asked = itertools.cycle(itertools.product(sounds, HOSTILE_KINDS))
        loops = (self._hostile_loop(asked, until_s) for _ in range(count))
        return list(itertools.chain(*await asyncio.gather(*loops)))

    async def health(self, until_s: float) -> list[int]:
        """The status of `/health`, twice a second."""
        statuses = []
        while time.monotonic() < until_s:
            statuses.append((await self._sent("GET", "/health")).status_code)
            await asyncio.sleep(HEALTH_EVERY_S)
        return statuses

    async def _honest_loop(
        self, asked: Iterator[tuple[HonestSound, str]], until_s: float
    ) -> list[Answer]:
        answers = []
        while time.monotonic() < until_s:
            sound, kind = next(asked)
            answers.append(await self._ask(kind, sound.wav, sound.sentence or ""))
            if answers[-1].status != httpx.codes.OK:
                await asyncio.sleep(RETRY_AFTER_S)
        return answers

    async def _hostile_loop(
        self, asked: Iterator[tuple[HostileSound, str]], until_s: float
    ) -> list[Answer]:
        answers = []
        while time.monotonic() < until_s:
            sound, kind = next(asked)
            answers.append(await self._ask(kind, sound.wav, sound.name))
            await asyncio.sleep(0)
        return answers

    async def _ask(self, kind: str, wav: bytes, of: str) -> Answer:
        began_s = time.monotonic()
        if kind == TRANSCRIPTION:
            response = await self._transcribe(wav)
        else:
            response = await self._chat(wav, aloud=kind == ALOUD)
        text, problem = "", None
        if response.status_code == httpx.codes.OK:
            text, problem = self._judge(kind, response)
        return Answer(kind, of, response.status_code, time.monotonic() - began_s, text, problem)

    async def _transcribe(self, wav: bytes) -> httpx.Response:
        form = {"model": self._server.model, "temperature": "0"}
        files = {"file": ("speech.wav", wav)}
        return await self._sent("POST", "/v1/audio/transcriptions", data=form, files=files)

    async def _chat(self, wav: bytes, *, aloud: bool) -> httpx.Response:
        data = base64.b64encode(wav).decode()
        sound = {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
        body: dict[str, object] = {
            "model": self._server.model,
            "temperature": 0,
            "messages": [{"role": "user", "content": [sound]}],
        }
        if self._server.max_tokens is not None:
            body["max_completion_tokens"] = self._server.max_tokens
        if aloud:
            body |= {
                "modalities": ["text", "audio"],
                "audio": {"voice": "default", "format": "wav"},
            }
        return await self._sent("POST", "/v1/chat/completions", json=body)

    async def _sent(self, method: str, path: str, **content: object) -> httpx.Response:
        """The response; one of status 0 where there was none."""
        try:
            return await self._http.request(method, path, **content)  # type: ignore[arg-type]
        except httpx.HTTPError as error:
            return httpx.Response(0, text=f"{type(error).__name__}: {error}")

    def _judge(self, kind: str, response: httpx.Response) -> tuple[str, str | None]:
        """The text of an answer, and why it is nonsense."""
        try:
            body = response.json()
            if kind == TRANSCRIPTION:
                return str(body["text"]), text_problem(str(body["text"]))
            message = body["choices"][0]["message"]
            if kind == CHAT:
                return str(message["content"]), text_problem(str(message["content"] or ""))
            text = str(message["audio"]["transcript"])
            wav = base64.b64decode(message["audio"]["data"])
            return text, text_problem(text) or sound_problem(wav, self._server.audio_s)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            return "", f"unreadable answer ({type(error).__name__})"


def text_problem(text: str) -> str | None:
    """Why `text` is nonsense: an engine whose logits are not finite says nothing, or "!!!!"."""
    said = "".join(text.split())
    if not said:
        return "empty"
    if len(said) > 1 and len(set(said)) == 1:
        return f"{said[0]!r} and nothing else"
    return None


def sound_problem(wav: bytes, audio_s: float | None) -> str | None:
    """Why an answer aloud is nonsense: silence, no numbers, or another length than `audio_s`."""
    samples, rate_hz = soundfile.read(io.BytesIO(wav), dtype="float32")
    if not len(samples) or not np.isfinite(samples).all():
        return "no sound"
    if np.abs(samples).max() < MIN_PEAK:
        return "silence"
    if audio_s is not None and abs(len(samples) / rate_hz - audio_s) > 1 / rate_hz:
        return f"{len(samples) / rate_hz:.3f} s instead of {audio_s:.3f}"
    return None
