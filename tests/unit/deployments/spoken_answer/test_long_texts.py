"""A spoken answer in parts: one stream, one part made ahead, and nothing left behind."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import numpy as np
import pytest

from deployments.chunker import Chunk, ChunkSchedule
from deployments.errors import AnswerSilent, EngineFailed
from deployments.messages import (
    Message,
    NextPart,
    Role,
    SamplingOptions,
    SpeechDelta,
    SpeechRequest,
    TextPart,
    ThinkerDelta,
    ThinkerRequest,
    Usage,
)
from deployments.spoken_answer.answer_aloud import answer_aloud
from deployments.spoken_answer.long_texts import AHEAD_TOKENS
from deployments.thinker.fake import FakeThinkerEngine, audio_tokens_of
from deployments.token2wav.fake import FakeStream, FakeSynthesizer

TEXTS = ("Good morning.", "How are you?", "x", "A longer sentence, spoken as the last one.")


def part(text: str, max_tokens: int | None = None) -> ThinkerRequest:
    messages = (Message(Role.HUMAN, (TextPart(text),)),)
    sampling = SamplingOptions(max_tokens=max_tokens, seed=5)
    return ThinkerRequest("req_1", messages, reply="speech", sampling=sampling)


def in_parts(*parts: ThinkerRequest) -> SpeechRequest:
    first, *others = parts
    return SpeechRequest(first, then=tuple(NextPart(other) for other in others))


class Watched(FakeThinkerEngine):
    """Notes what it was asked and what it answers now."""

    def __init__(self, fails_at: int | None = None) -> None:
        super().__init__()
        self.asked: list[ThinkerRequest] = []
        self._fails_at = fails_at

    async def generate(self, request: ThinkerRequest) -> AsyncGenerator[ThinkerDelta]:
        self.asked.append(request)
        if len(self.asked) == self._fails_at:
            raise EngineFailed("it died")
        async with aclosing(super().generate(request)) as deltas:
            async for delta in deltas:
                yield delta


class Slow(FakeSynthesizer):
    """Speaks some chunks, and the others when it may go on."""

    def __init__(self, chunks: int) -> None:
        super().__init__(ChunkSchedule())
        self.chunks = chunks
        self.go_on = asyncio.Event()

    async def open(self, voice: object, **options: Any) -> FakeStream:
        await super().open(None)
        outer = self

        class Stream(FakeStream):
            async def synthesize(self, chunk: Chunk) -> bytes:
                outer.chunks -= 1
                if outer.chunks < 0:
                    await outer.go_on.wait()
                return await super().synthesize(chunk)

        return Stream(self, ChunkSchedule())


async def heard(spoken: AsyncGenerator[SpeechDelta]) -> tuple[np.ndarray, list[SpeechDelta]]:
    deltas = [delta async for delta in spoken]
    return np.frombuffer(b"".join(delta.pcm for delta in deltas), "<i2"), deltas


async def settled() -> None:
    """All tasks have done what they can."""
    for _ in range(1000):
        await asyncio.sleep(0)


async def test_all_parts_are_spoken_in_order_in_one_stream() -> None:
    thinker, synthesizer = Watched(), FakeSynthesizer(ChunkSchedule(), max_streams=1)
    spoken = answer_aloud(in_parts(*map(part, TEXTS)), synthesizer, thinker.generate)
    samples, deltas = await heard(spoken)
    tokens = [token for text in TEXTS for token in audio_tokens_of(text)]
    assert np.array_equal(samples, np.repeat(tokens, 960))
    assert "".join(delta.text for delta in deltas) == "".join(TEXTS)
    assert [delta.finish_reason for delta in deltas if delta.finish_reason] == ["stop"]
    assert deltas[-1].usage == Usage(sum(map(len, TEXTS)), len(tokens), len(tokens), answers=4)
    assert [delta.usage.answers for delta in deltas if delta.usage] == [1, 2, 3, 4]
    assert {request.sampling.seed for request in thinker.asked} == {5}
    assert (thinker.active_requests(), synthesizer.open_streams) == (0, 0)


async def test_a_request_of_one_part_asks_the_thinker_as_ever() -> None:
    thinker = Watched()
    spoken = answer_aloud(
        SpeechRequest(part("Hi")), FakeSynthesizer(ChunkSchedule()), thinker.generate
    )
    tasks = len(asyncio.all_tasks())
    async with aclosing(spoken):
        await anext(spoken)
        assert len(asyncio.all_tasks()) == tasks  # none stands between the two stages
    assert [request.chunks for request in thinker.asked] == [ChunkSchedule()]


@pytest.mark.parametrize("chunks", [0, 1])
async def test_the_next_part_is_made_while_this_one_is_spoken_but_not_before_the_first_sound(
    chunks: int,
) -> None:
    thinker, synthesizer = Watched(), Slow(chunks)
    spoken = answer_aloud(in_parts(*map(part, TEXTS)), synthesizer, thinker.generate)
    listening = asyncio.ensure_future(heard(spoken))
    await settled()
    assert len(thinker.asked) == (len(TEXTS) if chunks else 1)
    synthesizer.go_on.set()
    samples, _ = await listening
    assert np.array_equal(samples, np.repeat([t for x in TEXTS for t in audio_tokens_of(x)], 960))


async def test_the_thinker_is_no_more_than_a_part_and_ten_seconds_ahead() -> None:
    text = "y" * 30  # 120 tokens
    thinker, synthesizer = Watched(), Slow(chunks=2)
    spoken = answer_aloud(in_parts(*[part(text)] * 40), synthesizer, thinker.generate)
    listening = asyncio.ensure_future(heard(spoken))
    await settled()
    assert 1 < len(thinker.asked) <= 2 + AHEAD_TOKENS // 120
    synthesizer.go_on.set()
    samples, _ = await listening
    assert len(samples) == 40 * 120 * 960
    assert len(thinker.asked) == 40


@pytest.mark.parametrize("chunks", [1, 4])
async def test_closing_the_answer_aborts_what_is_made_ahead(chunks: int) -> None:
    thinker, synthesizer = Watched(), FakeSynthesizer(ChunkSchedule())
    spoken = answer_aloud(in_parts(*[part("z" * 50)] * 9), synthesizer, thinker.generate)
    async with aclosing(spoken):
        for _ in range(chunks):
            await anext(spoken)
        await settled()
    assert (thinker.active_requests(), synthesizer.open_streams) == (0, 0)
    asked = len(thinker.asked)
    await settled()
    assert len(thinker.asked) == asked < 9


@pytest.mark.parametrize("fails_at", [1, 3])
async def test_a_part_that_fails_ends_the_answer_with_its_error(fails_at: int) -> None:
    thinker, synthesizer = Watched(fails_at), FakeSynthesizer(ChunkSchedule())
    spoken = answer_aloud(in_parts(*map(part, TEXTS)), synthesizer, thinker.generate)
    with pytest.raises(EngineFailed, match="it died"):
        await heard(spoken)
    assert (len(thinker.asked), synthesizer.open_streams) == (fails_at, 0)


async def test_a_part_that_reaches_its_limit_is_the_last_one() -> None:
    thinker = Watched()
    request = in_parts(part(TEXTS[0]), part(TEXTS[1], max_tokens=6), part(TEXTS[2]))
    _, deltas = await heard(
        answer_aloud(request, FakeSynthesizer(ChunkSchedule()), thinker.generate)
    )
    assert deltas[-1].finish_reason == "length"
    assert deltas[-1].usage is not None
    assert deltas[-1].usage.audio_tokens == len(audio_tokens_of(TEXTS[0])) + 6
    assert len(thinker.asked) == 2


@pytest.mark.parametrize("silent", TEXTS)
async def test_a_part_without_sound_is_an_error_and_no_gap_in_the_text(silent: str) -> None:
    async def think(request: ThinkerRequest) -> AsyncGenerator[ThinkerDelta]:
        said = () if request.messages == part(silent).messages else (1,) * 20
        yield ThinkerDelta(audio_tokens=said, finish_reason="stop", usage=Usage(1, 20))

    spoken = answer_aloud(in_parts(*map(part, TEXTS)), FakeSynthesizer(ChunkSchedule()), think)
    ends = []
    with pytest.raises(AnswerSilent, match="a part of the text"):
        async for delta in spoken:
            ends.append(delta.finish_reason)
    assert set(ends) <= {None}  # nobody was told that the answer is complete


async def test_an_answer_that_somebody_else_cancels_does_not_hang() -> None:
    async def think(request: ThinkerRequest) -> AsyncGenerator[ThinkerDelta]:
        yield ThinkerDelta(audio_tokens=(1,) * 20)
        raise asyncio.CancelledError

    spoken = answer_aloud(in_parts(*map(part, TEXTS)), FakeSynthesizer(ChunkSchedule()), think)
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(5):
            await heard(spoken)


async def test_the_pause_of_a_joint_is_in_the_sound() -> None:
    class Loud(FakeSynthesizer):
        """Loud in each token but 0."""

        async def open(self, voice: object, **options: Any) -> FakeStream:
            await super().open(None)

            class Stream(FakeStream):
                async def synthesize(self, chunk: Chunk) -> bytes:
                    samples = np.frombuffer(await super().synthesize(chunk), "<i2")
                    return (5000 * np.sign(samples)).astype("<i2").tobytes()

            return Stream(self, ChunkSchedule())

    async def think(request: ThinkerRequest) -> AsyncGenerator[ThinkerDelta]:
        tokens = (0, *(1,) * 30, 0)  # token 0 is quiet: 40 ms at either end
        yield ThinkerDelta(audio_tokens=tokens, finish_reason="stop", usage=Usage(1, 32))

    request = SpeechRequest(part("a"), then=(NextPart(part("b"), 0.5), NextPart(part("c"))))
    samples, _ = await heard(answer_aloud(request, Loud(ChunkSchedule()), think))
    gaps = np.diff(np.flatnonzero(samples))
    assert [round(float(gap) / 24_000, 3) for gap in gaps if gap > 1] == [0.5, 0.08]
