"""The graph as HTTP and the commands know it."""

from collections.abc import AsyncGenerator
from typing import Protocol

from deployments.messages import (
    ReferenceAudio,
    SpeechDelta,
    SpeechRequest,
    ThinkerDelta,
    ThinkerRequest,
)


class Backend(Protocol):
    """The graph behind the HTTP surface. Closing an answer's generator frees all it holds."""

    def text(self, request: ThinkerRequest) -> AsyncGenerator[ThinkerDelta]:
        """Answer in text. The last delta carries a `finish_reason`."""

    def speech(self, request: SpeechRequest) -> AsyncGenerator[SpeechDelta]:
        """Answer aloud. The last delta carries a `finish_reason`.

        Raises UnsupportedRequest on a server that has no Token2Wav.
        """

    async def voices(self) -> tuple[str, ...]:
        """Names of the configured voices, the default one first; none without Token2Wav."""

    async def prepare_voice(self, request_id: str, recording: ReferenceAudio) -> None:
        """Make a voice of `recording` in one of Token2Wav's replicas, and keep it there.

        Raises what `Synthesizer.prepare` does, and UnsupportedRequest without Token2Wav.
        """

    async def ready(self) -> bool:
        """Whether any request sent now would be served."""

    async def ready_for_text(self) -> bool:
        """Whether one that is answered in text would be."""


class ForwardingBackend:
    """A `Backend` that hands everything on to another. What wraps one overrides a part of it."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def text(self, request: ThinkerRequest) -> AsyncGenerator[ThinkerDelta]:
        return self._backend.text(request)

    def speech(self, request: SpeechRequest) -> AsyncGenerator[SpeechDelta]:
        return self._backend.speech(request)

    async def voices(self) -> tuple[str, ...]:
        return await self._backend.voices()

    async def prepare_voice(self, request_id: str, recording: ReferenceAudio) -> None:
        await self._backend.prepare_voice(request_id, recording)

    async def ready(self) -> bool:
        return await self._backend.ready()

    async def ready_for_text(self) -> bool:
        return await self._backend.ready_for_text()
