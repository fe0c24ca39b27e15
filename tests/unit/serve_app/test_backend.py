"""Both stages joined in one process, and what is remembered of their readiness."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from deployments.chunker import Chunk, ChunkSchedule
from deployments.errors import EngineFailed, ServerFull, UnsupportedRequest
from deployments.messages import (
    Message,
    Role,
    SpeechRequest,
    TextPart,
    ThinkerDelta,
    ThinkerRequest,
    Voice,
)
from deployments.thinker.fake import FakeThinkerEngine, audio_tokens_of
from deployments.token2wav.fake import FakeStream, FakeSynthesizer
from serve_app.backend import EngineBackend, NotReady, Readiness

SCHEDULE = ChunkSchedule()
REQUEST = ThinkerRequest("r", (Message(Role.HUMAN, (TextPart("Good morning"),)),), reply="speech")


def engines() -> tuple[FakeThinkerEngine, FakeSynthesizer, EngineBackend]:
    thinker, synthesizer = FakeThinkerEngine(), FakeSynthesizer(SCHEDULE)
    return thinker, synthesizer, EngineBackend(thinker, synthesizer)


async def test_speech_holds_960_samples_for_every_audio_token() -> None:
    thinker, synthesizer, backend = engines()
    pcm = b"".join([delta.pcm async for delta in backend.speech(SpeechRequest(REQUEST))])
    assert len(pcm) == 2 * 960 * len(audio_tokens_of("Good morning"))
    assert (thinker.active_requests(), synthesizer.open_streams) == (0, 0)


async def test_closing_an_answer_frees_both_stages() -> None:
    thinker, synthesizer, backend = engines()
    async with aclosing(backend.speech(SpeechRequest(REQUEST))) as spoken:
        await anext(spoken)
        assert (thinker.active_requests(), synthesizer.open_streams) == (1, 1)
    assert (thinker.active_requests(), synthesizer.open_streams) == (0, 0)


async def test_text_never_touches_the_synthesizer() -> None:
    class NoSpeech(FakeSynthesizer):
        async def open(self, voice: Voice) -> FakeStream:
            raise AssertionError("a text answer opened a stream")

    backend = EngineBackend(FakeThinkerEngine(), NoSpeech(SCHEDULE))
    request = ThinkerRequest("r", REQUEST.messages)
    assert "".join([d.text async for d in backend.text(request)]) == "Good morning"


async def test_a_failing_synthesis_frees_both_stages() -> None:
    class Broken(FakeStream):
        async def synthesize(self, chunk: Chunk) -> bytes:
            raise EngineFailed("broken")

    class BrokenSynthesizer(FakeSynthesizer):
        async def open(self, voice: Voice) -> FakeStream:
            self.open_streams += 1
            return Broken(self, SCHEDULE)

    thinker, synthesizer = FakeThinkerEngine(), BrokenSynthesizer(SCHEDULE)
    backend = EngineBackend(thinker, synthesizer)
    with pytest.raises(EngineFailed):
        async for _ in backend.speech(SpeechRequest(REQUEST)):
            pass
    assert (thinker.active_requests(), synthesizer.open_streams) == (0, 0)


async def test_a_stream_that_cannot_be_opened_starts_no_answer() -> None:
    thinker = FakeThinkerEngine()
    backend = EngineBackend(thinker, FakeSynthesizer(SCHEDULE, max_streams=0))
    with pytest.raises(ServerFull):
        await anext(backend.speech(SpeechRequest(REQUEST)))
    assert thinker.active_requests() == 0


async def test_without_a_synthesizer_speech_is_unsupported() -> None:
    backend = EngineBackend(FakeThinkerEngine(), None)
    assert await backend.voices() == ()
    with pytest.raises(UnsupportedRequest):
        await anext(backend.speech(SpeechRequest(REQUEST)))


class Counting(EngineBackend):
    """Counts how often it is asked whether it is ready."""

    def __init__(self, is_ready: bool) -> None:
        super().__init__(FakeThinkerEngine(), None)
        self.is_ready, self.asked = is_ready, 0

    async def text(self, request: ThinkerRequest) -> AsyncGenerator[ThinkerDelta]:
        raise NotImplementedError
        yield

    async def ready(self) -> bool:
        self.asked += 1
        return self.is_ready


async def test_once_ready_requests_do_not_ask_again() -> None:
    backend = Counting(is_ready=True)
    readiness = Readiness(backend.ready, renew_after_s=60)
    for _ in range(5):
        await readiness.require()
    assert backend.asked == 1


async def test_readiness_that_is_lost_is_noticed_after_its_time() -> None:
    backend = Counting(is_ready=True)
    readiness = Readiness(backend.ready, renew_after_s=0)
    await readiness.require()
    backend.is_ready = False
    await readiness.require()  # answered from memory, and asks anew beside
    await asyncio.sleep(0.01)
    with pytest.raises(NotReady):
        await readiness.require()


async def test_a_rehearsal_holds_up_everyone_but_itself() -> None:
    backend = Counting(is_ready=True)
    readiness = Readiness(backend.ready, renew_after_s=60)
    curtain = asyncio.Event()

    async def rehearsal() -> None:
        await readiness.require()
        await curtain.wait()

    readiness.rehearsal = asyncio.create_task(rehearsal())
    held_up = [asyncio.create_task(readiness.ask()), asyncio.create_task(readiness.require())]
    await asyncio.sleep(0.01)
    assert not any(task.done() for task in held_up)
    curtain.set()
    async with asyncio.timeout(1):
        assert await asyncio.gather(*held_up) == [True, None]


async def test_a_rehearsal_without_an_end_holds_up_only_so_long(monkeypatch) -> None:
    monkeypatch.setattr("serve_app.backend.REHEARSAL_WITHIN_S", 0.02)
    readiness = Readiness(Counting(is_ready=True).ready)
    readiness.rehearsal = asyncio.create_task(asyncio.sleep(60))
    async with asyncio.timeout(1):
        assert await readiness.ask()
    readiness.rehearsal.cancel()
