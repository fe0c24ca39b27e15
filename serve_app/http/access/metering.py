"""The graph, with the sound counted that one caller brings and gets."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from deployments.messages import (
    INPUT_SAMPLE_RATE_HZ,
    OUTPUT_SAMPLE_RATE_HZ,
    AudioPart,
    SpeechDelta,
    SpeechRequest,
    ThinkerDelta,
    ThinkerRequest,
)
from serve_app.graph.backend import Backend, ForwardingBackend
from serve_app.http.access.key_limits import Allowance

PCM_BYTES_PER_S = 2 * OUTPUT_SAMPLE_RATE_HZ  # s16le, mono


class MeteredBackend(ForwardingBackend):
    """A `Backend` that counts the sound that the model hears and speaks."""

    def __init__(self, backend: Backend, allowance: Allowance) -> None:
        super().__init__(backend)
        self._allowance = allowance

    async def text(self, request: ThinkerRequest) -> AsyncGenerator[ThinkerDelta]:
        self._allowance.spend_audio(heard_s(request))
        async with aclosing(self._backend.text(request)) as deltas:
            async for delta in deltas:
                yield delta

    async def speech(self, request: SpeechRequest) -> AsyncGenerator[SpeechDelta]:
        self._allowance.spend_audio(heard_s(request.thinker))
        async with aclosing(self._backend.speech(request)) as deltas:
            async for delta in deltas:
                self._allowance.spend_audio(len(delta.pcm) / PCM_BYTES_PER_S)
                yield delta


def heard_s(request: ThinkerRequest) -> float:
    """The length of a prompt's recordings, in seconds."""
    parts = (part for message in request.messages for part in message.parts)
    samples = sum(len(part.samples) for part in parts if isinstance(part, AudioPart))
    return samples / INPUT_SAMPLE_RATE_HZ
