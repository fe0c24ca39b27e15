"""The main path of a spoken answer: deltas → chunks → audio.

The stages' engines are known here by protocol only, so that a fake one runs the whole graph.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Protocol

from deployments.chunker import Chunk, Chunker, ChunkSchedule
from deployments.messages import SpeechDelta, ThinkerDelta, ThinkerRequest, Voice


class ThinkerEngine(Protocol):
    """What the Thinker's deployment needs of its engine."""

    async def start(self) -> None:
        """Load, warm up, and return when the first request can be served at full speed."""

    def generate(self, request: ThinkerRequest) -> AsyncGenerator[ThinkerDelta]:
        """Answer one turn. Closing the generator aborts the request."""

    def active_requests(self) -> int:
        """Requests that are neither finished nor aborted."""

    async def check_health(self) -> None:
        """Raise EngineFailed when no request can be served any more."""

    def close(self) -> None:
        """Free processes and memory."""


class SpeechStream(Protocol):
    """The synthesis of one answer. Chunks are handed over in order, one at a time."""

    async def synthesize(self, chunk: Chunk) -> bytes:
        """The next piece of PCM, s16le at 24 kHz; all of it has come after the last chunk."""

    def close(self) -> None:
        """Give back what the stream holds, finished or not. May be called twice."""


class Synthesizer(Protocol):
    """What Token2Wav's deployment needs of its engine."""

    async def start(self) -> None:
        """Load, warm up, and return when the first request can be served at full speed."""

    def voices(self) -> tuple[str, ...]:
        """The names of the configured voices, the default one first."""

    async def open(self, voice: Voice) -> SpeechStream:
        """Begin a stream in `voice`. Raises UnknownVoice, ReferenceAudioUnfit, ServerFull."""

    async def check_health(self) -> None:
        """Raise EngineFailed when no stream can be served any more."""

    def close(self) -> None:
        """Free threads and memory."""


async def speak(
    deltas: AsyncIterator[ThinkerDelta], stream: SpeechStream, schedule: ChunkSchedule
) -> AsyncGenerator[SpeechDelta]:
    """Turn one answer's deltas into speech, while the rest of the answer is still being made.

    The delta with a `finish_reason` comes last, with or after the last of the audio.
    """
    chunker = Chunker(schedule)
    async for delta in deltas:
        chunks = list(chunker.push(delta.audio_tokens))
        if delta.finish_reason is not None and (last := chunker.finish()):
            chunks.append(last)
        pieces = [await stream.synthesize(chunk) for chunk in chunks]
        yield SpeechDelta(
            pcm=b"".join(pieces),
            text=delta.text,
            reasoning=delta.reasoning,
            token_ids=delta.token_ids,
            tool_calls=delta.tool_calls,
            finish_reason=delta.finish_reason,
            usage=delta.usage,
        )
