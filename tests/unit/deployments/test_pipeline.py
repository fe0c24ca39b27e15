"""The main path over fake engines: what goes in comes out, whole and in order."""

import numpy as np
import pytest

from deployments.chunker import ChunkSchedule
from deployments.errors import ServerFull, UnknownVoice
from deployments.messages import Message, Role, SamplingOptions, TextPart, ThinkerRequest
from deployments.pipeline import speak
from deployments.thinker.fake import FakeThinkerEngine, audio_tokens_of
from deployments.token2wav.fake import FakeSynthesizer


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
    spoken = [delta async for delta in speak(deltas, stream, schedule)]
    samples = np.frombuffer(b"".join(delta.pcm for delta in spoken), dtype="<i2")
    assert np.array_equal(samples, np.repeat(audio_tokens_of(text), 960))
    assert "".join(delta.text for delta in spoken) == text
    assert [delta.finish_reason for delta in spoken if delta.finish_reason] == ["stop"]
    assert spoken[-1].usage.audio_tokens == len(audio_tokens_of(text))


async def test_the_first_sound_does_not_wait_for_the_whole_answer():
    schedule = ChunkSchedule(ramp=(10,))
    stream = await FakeSynthesizer(schedule).open(None)
    deltas = FakeThinkerEngine().generate(request("x" * 100, schedule))
    spoken = speak(deltas, stream, schedule)
    first = await anext(spoken)
    assert len(first.pcm) == 10 * 960 * 2
    await spoken.aclose()


async def test_a_cut_answer_says_so():
    schedule = ChunkSchedule()
    stream = await FakeSynthesizer(schedule).open(None)
    deltas = FakeThinkerEngine().generate(request("hello", schedule, max_tokens=7))
    spoken = [delta async for delta in speak(deltas, stream, schedule)]
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
