"""Both stages joined in one process."""

from contextlib import aclosing
from typing import Any

import pytest

from deployments.chunker import Chunk, ChunkSchedule
from deployments.errors import EngineFailed, ServerFull, UnsupportedRequest
from deployments.messages import (
    Message,
    Role,
    SpeechRequest,
    TextPart,
    ThinkerRequest,
    Voice,
)
from deployments.thinker.fake import FakeThinkerEngine, audio_tokens_of
from deployments.token2wav.fake import FakeStream, FakeSynthesizer
from serve_app.graph.fake import FakeServeBackend

SCHEDULE = ChunkSchedule()
REQUEST = ThinkerRequest("r", (Message(Role.HUMAN, (TextPart("Good morning"),)),), reply="speech")


def engines() -> tuple[FakeThinkerEngine, FakeSynthesizer, FakeServeBackend]:
    thinker, synthesizer = FakeThinkerEngine(), FakeSynthesizer(SCHEDULE)
    return thinker, synthesizer, FakeServeBackend(thinker, synthesizer)


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
        async def open(self, voice: Voice, **options: Any) -> FakeStream:
            raise AssertionError("a text answer opened a stream")

    backend = FakeServeBackend(FakeThinkerEngine(), NoSpeech(SCHEDULE))
    request = ThinkerRequest("r", REQUEST.messages)
    assert "".join([d.text async for d in backend.text(request)]) == "Good morning"


async def test_a_failing_synthesis_frees_both_stages() -> None:
    class Broken(FakeStream):
        async def synthesize(self, chunk: Chunk) -> bytes:
            raise EngineFailed("broken")

    class BrokenSynthesizer(FakeSynthesizer):
        async def open(self, voice: Voice, **options: Any) -> FakeStream:
            self.open_streams += 1
            return Broken(self, SCHEDULE)

    thinker, synthesizer = FakeThinkerEngine(), BrokenSynthesizer(SCHEDULE)
    backend = FakeServeBackend(thinker, synthesizer)
    with pytest.raises(EngineFailed):
        async for _ in backend.speech(SpeechRequest(REQUEST)):
            pass
    assert (thinker.active_requests(), synthesizer.open_streams) == (0, 0)


async def test_a_stream_that_cannot_be_opened_starts_no_answer() -> None:
    thinker = FakeThinkerEngine()
    backend = FakeServeBackend(thinker, FakeSynthesizer(SCHEDULE, max_streams=0))
    with pytest.raises(ServerFull):
        await anext(backend.speech(SpeechRequest(REQUEST)))
    assert thinker.active_requests() == 0


async def test_without_a_synthesizer_speech_is_unsupported() -> None:
    backend = FakeServeBackend(FakeThinkerEngine(), None)
    assert await backend.voices() == ()
    with pytest.raises(UnsupportedRequest):
        await anext(backend.speech(SpeechRequest(REQUEST)))
