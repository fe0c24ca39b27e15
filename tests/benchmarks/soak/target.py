"""The server that a soak talks to, and the plain requests that honest and hostile clients share."""

import base64
from dataclasses import dataclass
from typing import Any

import httpx

TIMEOUT_S = 180.0  # the machine may be busy with other things


@dataclass(frozen=True, slots=True)
class Target:
    """A server and what may be named there."""

    http: httpx.AsyncClient  # its base URL has no version
    model: str
    voices: tuple[str, ...]

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        url = self.http.base_url
        return url.host, url.port or 80

    async def transcribe(self, recording: bytes, **form: str) -> httpx.Response:
        data = {"model": self.model, "temperature": "0", **form}
        files = {"file": ("recording", recording)}
        return await self.http.post("/v1/audio/transcriptions", data=data, files=files)

    async def chat(self, *messages: dict[str, Any], **more: Any) -> httpx.Response:
        body = {"model": self.model, "messages": messages, "temperature": 0, **more}
        return await self.http.post("/v1/chat/completions", json=body)

    async def speak(self, text: str, voice: str, **more: Any) -> httpx.Response:
        return await self.http.post("/v1/audio/speech", json=self.speech_body(text, voice, **more))

    def speech_body(self, text: str, voice: str, **more: Any) -> dict[str, Any]:
        return {"model": self.model, "input": text, "voice": voice, **more}


def client(url: str) -> httpx.AsyncClient:
    """As many connections as are asked for, past any proxy."""
    limits = httpx.Limits(max_connections=None)
    return httpx.AsyncClient(base_url=url, timeout=TIMEOUT_S, limits=limits, trust_env=False)


def user(recording: bytes) -> dict[str, Any]:
    """A user's message that is a recording."""
    sound = {"data": base64.b64encode(recording).decode(), "format": "wav"}
    return {"role": "user", "content": [{"type": "input_audio", "input_audio": sound}]}


def aloud(voice: str, form: str = "wav") -> dict[str, Any]:
    """The fields of a chat whose answer is spoken."""
    return {"modalities": ["text", "audio"], "audio": {"voice": voice, "format": form}}
