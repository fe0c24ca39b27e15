"""The main path of a spoken answer: deltas → chunks → audio."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from deployments.chunker import Chunk, Chunker, ChunkSchedule
from deployments.messages import (
    SAMPLES_PER_AUDIO_TOKEN,
    SpeechDelta,
    SpeechRequest,
    SpokenSoFar,
    ThinkerDelta,
)
from deployments.spoken_answer.long_texts import Think, from_the_beginning, in_turn
from deployments.spoken_answer.pauses import Pauses
from deployments.stages import SpeechStream, StreamOpener

BYTES_PER_SAMPLE = 2
NO_WORDS = ThinkerDelta()


async def answer_aloud(
    request: SpeechRequest, opener: StreamOpener, think: Think
) -> AsyncGenerator[SpeechDelta]:
    """The whole life of a spoken answer; the last delta carries the `finish_reason`.

    The parts of a long text are spoken in one stream, one after the other. A stream is opened
    before the Thinker is asked, so a full Token2Wav refuses without work for the Thinker. However
    the answer ends, the Thinker's request is aborted and the stream closed.

    An answer that another replica began (`so_far`) is made again from its beginning, but only what
    comes after the samples that were received is yielded.

    Raises:
        UnknownVoice, ReferenceAudioUnfit, ServerFull: before the Thinker is asked.
    """
    so_far = request.so_far
    stream = await opener.open(
        request.voice,
        streamed=request.streamed,
        priority=request.thinker.priority,
        so_far=so_far,
    )
    try:
        if request.speed != 1:
            stream.play_at(request.speed)
        if request.then:
            stream = pausing = PausingStream(stream)
            deltas = in_turn(request, stream.schedule, think, pausing.pause)
        else:
            deltas = from_the_beginning(request, stream.schedule, think)
        async with aclosing(deltas), aclosing(speak(deltas, stream, so_far)) as spoken:
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

    @property
    def step_began_s(self) -> float | None:
        return self._stream.step_began_s

    def settle_schedule(self) -> ChunkSchedule:
        return self._stream.settle_schedule()

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
    deltas: AsyncIterator[ThinkerDelta], stream: SpeechStream, so_far: SpokenSoFar | None = None
) -> AsyncGenerator[SpeechDelta]:
    """Turn one answer's deltas into speech, while the rest of the answer is still being made.

    Each chunk's sound is yielded as soon as it is made. The synthesizer may delay the next chunk
    while earlier sound still plays, so no chunk waits for another one. A delta's text, ids and tool
    calls come with its first chunk, or alone where it completes none. The `finish_reason` comes
    with the last of the audio, or after it.

    With `so_far` the first deltas are those that were spoken before: of them only sound is yielded
    that was not received.
    """
    chunker: Chunker | None = None
    sound = _Sound(received=so_far.samples if so_far else 0)
    replayed = sum(len(part.audio_tokens) for part in so_far.parts) if so_far else 0
    schedule: ChunkSchedule | None = None
    async for delta in deltas:
        if chunker is None:
            schedule = stream.settle_schedule()
            chunker = Chunker(schedule)
        chunks: list[Chunk | None] = list(chunker.push(delta.audio_tokens))
        if delta.finish_reason is not None and (last := chunker.finish()):
            chunks.append(last)
        is_known, replayed = replayed > 0, replayed - len(delta.audio_tokens)
        for number, chunk in enumerate(chunks or [None]):
            pcm, offset = sound.next(await stream.synthesize(chunk) if chunk else b"")
            if is_known and not pcm:
                continue
            words = NO_WORDS if is_known or number > 0 else delta
            end = delta if number + 1 >= len(chunks) else NO_WORDS
            yield SpeechDelta(
                pcm=pcm,
                text=words.text,
                reasoning=words.reasoning,
                token_ids=words.token_ids,
                tool_calls=words.tool_calls,
                finish_reason=end.finish_reason,
                usage=end.usage,
                made=words.made,
                made_offset=words.offset,
                audio_tokens=words.audio_tokens,
                part=delta.part,
                offset=offset,
                schedule=schedule,
            )
            schedule = None


class _Sound:
    """Counts the samples of a stream, and cuts off those that were received before."""

    def __init__(self, received: int) -> None:
        self._received = BYTES_PER_SAMPLE * received
        self._made = 0  # bytes

    def next(self, pcm: bytes) -> tuple[bytes, int]:
        """What of the next sound is new, and the samples of the stream before that."""
        new = pcm[max(0, self._received - self._made) :]
        self._made += len(pcm)
        return new, max(self._received, self._made - len(new)) // BYTES_PER_SAMPLE
