"""The main path over fake engines: what goes in comes out, whole and in order."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from deployments.chunker import Chunk, ChunkSchedule
from deployments.errors import ServerFull, UnknownVoice
from deployments.messages import (
    Message,
    Role,
    SamplingOptions,
    SpeechDelta,
    SpeechRequest,
    TextPart,
    ThinkerDelta,
    ThinkerRequest,
    Usage,
)
from deployments.spoken_answer.answer_aloud import answer_aloud, speak
from deployments.thinker.fake import FakeThinkerEngine, audio_tokens_of
from deployments.token2wav.fake import FakeStream, FakeSynthesizer


def shown(delta: SpeechDelta) -> SpeechDelta:
    """A delta without what only another replica needs, to go on behind it."""
    return replace(delta, audio_tokens=(), offset=None, schedule=None)


def request(text: str, schedule: ChunkSchedule, max_tokens: int | None = None) -> ThinkerRequest:
    return ThinkerRequest(
        request_id=text,
        messages=(Message(Role.HUMAN, (TextPart(text),)),),
        reply="speech",
        sampling=SamplingOptions(max_tokens=max_tokens),
        chunks=schedule,
    )


@pytest.mark.parametrize("text", ["a", "hello", "a longer sentence to say " * 4])
@pytest.mark.parametrize("schedule", [ChunkSchedule(), ChunkSchedule(ramp=())])
async def test_every_audio_token_becomes_960_samples_in_order(text, schedule):
    synthesizer = FakeSynthesizer(schedule)
    stream = await synthesizer.open(None)
    deltas = FakeThinkerEngine().generate(request(text, schedule))
    spoken = [delta async for delta in speak(deltas, stream)]
    samples = np.frombuffer(b"".join(delta.pcm for delta in spoken), dtype="<i2")
    assert np.array_equal(samples, np.repeat(audio_tokens_of(text), 960))
    assert "".join(delta.text for delta in spoken) == text
    assert [delta.finish_reason for delta in spoken if delta.finish_reason] == ["stop"]
    assert spoken[-1].usage.audio_tokens == len(audio_tokens_of(text))


async def test_the_first_sound_does_not_wait_for_the_whole_answer():
    schedule = ChunkSchedule(ramp=(10,))
    stream = await FakeSynthesizer(schedule).open(None)
    deltas = FakeThinkerEngine().generate(request("x" * 100, schedule))
    spoken = speak(deltas, stream)
    first = await anext(spoken)
    assert len(first.pcm) == 10 * 960 * 2
    await spoken.aclose()


async def test_the_sound_before_the_last_chunk_does_not_wait_for_it():
    made = asyncio.Event()

    class Stream:
        schedule = ChunkSchedule(ramp=(10, 8), steady=9)

        def settle_schedule(self) -> ChunkSchedule:
            return self.schedule

        async def synthesize(self, chunk: Chunk) -> bytes:
            if chunk.last:
                await made.wait()
            return bytes(len(chunk.tokens))

        def close(self) -> None: ...

    async def deltas():
        usage = Usage(1, 30, 25)
        yield ThinkerDelta("all", "", tuple(range(25)), (1,), finish_reason="stop", usage=usage)

    spoken = speak(deltas(), Stream())
    first = await asyncio.wait_for(anext(spoken), 1)
    second = await asyncio.wait_for(anext(spoken), 1)
    assert (shown(first), shown(second)) == (
        SpeechDelta(bytes(13), "all", token_ids=(1,)),
        SpeechDelta(bytes(11)),
    )
    rest = asyncio.ensure_future(anext(spoken))
    await asyncio.sleep(0)
    assert not rest.done()
    made.set()
    assert shown(await rest) == SpeechDelta(bytes(7), finish_reason="stop", usage=Usage(1, 30, 25))
    assert [delta async for delta in spoken] == []


async def test_a_delta_without_a_whole_chunk_is_handed_on_at_once():
    async def deltas():
        yield ThinkerDelta("hm", audio_tokens=(1, 2))
        yield ThinkerDelta(token_ids=(5,), finish_reason="length", usage=Usage(1, 2))

    stream = await FakeSynthesizer(ChunkSchedule()).open(None)
    spoken = [delta async for delta in speak(deltas(), stream)]
    assert shown(spoken[0]) == SpeechDelta(text="hm")
    assert len(spoken[1].pcm) == 2 * 960 * 2
    assert (spoken[1].token_ids, spoken[1].finish_reason) == ((5,), "length")


async def test_a_cut_answer_says_so():
    schedule = ChunkSchedule()
    stream = await FakeSynthesizer(schedule).open(None)
    deltas = FakeThinkerEngine().generate(request("hello", schedule, max_tokens=7))
    spoken = [delta async for delta in speak(deltas, stream)]
    assert spoken[-1].finish_reason == "length"
    assert sum(len(delta.pcm) for delta in spoken) == 7 * 960 * 2


async def test_a_full_synthesizer_refuses_and_a_closed_stream_makes_room():
    synthesizer = FakeSynthesizer(ChunkSchedule(), max_streams=1)
    stream = await synthesizer.open(None)
    with pytest.raises(ServerFull):
        await synthesizer.open(None)
    stream.close()
    stream.close()
    assert synthesizer.open_streams == 0
    await synthesizer.open("default")


async def test_an_unknown_voice_is_refused_by_name():
    with pytest.raises(UnknownVoice, match="nobody"):
        await FakeSynthesizer(ChunkSchedule()).open("nobody")


@pytest.mark.parametrize("speed", [1.0, 1.5])
async def test_the_stream_is_in_time_for_a_listener_at_the_speed_of_the_request(speed):
    class Noting(FakeSynthesizer):
        async def open(self, voice, **options):
            self.stream = await super().open(voice)
            return self.stream

    synthesizer = Noting(ChunkSchedule())
    turn = SpeechRequest(request("hello", ChunkSchedule()), speed=speed)
    samples = 0
    async for delta in answer_aloud(turn, synthesizer, FakeThinkerEngine().generate):
        samples += len(delta.pcm) // 2
    assert synthesizer.stream.speed == speed
    assert samples == 960 * len(audio_tokens_of("hello"))  # made at its own pace


async def test_an_answer_is_cut_by_the_schedule_that_its_stream_has_when_its_first_tokens_come():
    planned, settled = ChunkSchedule(ramp=(5, 4)), ChunkSchedule(ramp=(9,))

    class Settling(FakeStream):
        def settle_schedule(self) -> ChunkSchedule:
            self.schedule = settled
            return settled

    stream = Settling(FakeSynthesizer(planned), planned)
    deltas = FakeThinkerEngine().generate(request("x" * 100, planned))
    spoken = [delta async for delta in speak(deltas, stream)]
    assert spoken[0].schedule == settled
    assert [len(delta.pcm) // 1920 for delta in spoken if delta.pcm][:2] == [9, 25]
