"""The main path of a spoken answer: deltas → chunks → audio."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace

from deployments.chunker import Chunk, Chunker, ChunkSchedule
from deployments.messages import (
    SAMPLES_PER_AUDIO_TOKEN,
    SpeechDelta,
    SpeechRequest,
    ThinkerDelta,
)
from deployments.spoken_answer.long_texts import Think, in_turn
from deployments.spoken_answer.pauses import Pauses
from deployments.stages import SpeechStream, Synthesizer


async def answer_aloud(
    request: SpeechRequest, synthesizer: Synthesizer, think: Think
) -> AsyncGenerator[SpeechDelta]:
    """The whole life of a spoken answer; the last delta carries the `finish_reason`.

    The parts of a long text are spoken in one stream, one after the other. A stream is opened
    before the Thinker is asked, so a full Token2Wav refuses without work for the Thinker. However
    the answer ends, the Thinker's request is aborted and the stream closed.

    Raises:
        UnknownVoice, ReferenceAudioUnfit, ServerFull: before the Thinker is asked.
    """
    stream = await synthesizer.open(
        request.voice, streamed=request.streamed, priority=request.thinker.priority
    )
    try:
        if request.speed != 1:
            stream.play_at(request.speed)
        if request.then:
            stream = pausing = PausingStream(stream)
            deltas = in_turn(request, stream.schedule, think, pausing.pause)
        else:
            deltas = think(replace(request.thinker, chunks=stream.schedule))
        async with aclosing(deltas), aclosing(speak(deltas, stream)) as spoken:
            async for delta in spoken:
                yield delta
    finally:
        stream.close()


class PausingStream:
    """A `SpeechStream` with pauses at the joints between the parts of a text."""

    def __init__(self, stream: SpeechStream) -> None:
        self._stream = stream
        self._pauses = Pauses()

    @property
    def schedule(self) -> ChunkSchedule:
        return self._stream.schedule

    def pause(self, after_tokens: int, pause_s: float) -> None:
        """Have at least `pause_s` of quiet around the end of that many audio tokens."""
        self._pauses.add(after_tokens * SAMPLES_PER_AUDIO_TOKEN, pause_s)

    def play_at(self, speed: float) -> None:
        self._stream.play_at(speed)

    async def synthesize(self, chunk: Chunk) -> bytes:
        return self._pauses.push(await self._stream.synthesize(chunk))

    def close(self) -> None:
        self._stream.close()


async def speak(
    deltas: AsyncIterator[ThinkerDelta], stream: SpeechStream
) -> AsyncGenerator[SpeechDelta]:
    """Turn one answer's deltas into speech, while the rest of the answer is still being made.

    Each chunk's sound is yielded as soon as it is made. The synthesizer may delay the next chunk
    while earlier sound still plays, so no chunk waits for another one. A delta's text, ids and tool
    calls come with its first chunk, or alone where it completes none. The `finish_reason` comes
    with the last of the audio, or after it.
    """
    chunker = Chunker(stream.schedule)
    async for delta in deltas:
        chunks: list[Chunk | None] = list(chunker.push(delta.audio_tokens))
        if delta.finish_reason is not None and (last := chunker.finish()):
            chunks.append(last)
        for number, chunk in enumerate(chunks or [None]):
            pcm = await stream.synthesize(chunk) if chunk else b""
            spoken = _words(delta, pcm) if number == 0 else SpeechDelta(pcm=pcm)
            if number + 1 >= len(chunks):
                spoken = replace(spoken, finish_reason=delta.finish_reason, usage=delta.usage)
            yield spoken


def _words(delta: ThinkerDelta, pcm: bytes) -> SpeechDelta:
    return SpeechDelta(
        pcm=pcm,
        text=delta.text,
        reasoning=delta.reasoning,
        token_ids=delta.token_ids,
        tool_calls=delta.tool_calls,
    )
