"""A graph whose every answer is a tone, so that a gap or a click in it can be seen."""

from typing import Any

from fastapi import FastAPI

from deployments.chunker import Chunk, ChunkSchedule
from deployments.thinker.fake import FakeThinkerEngine
from deployments.token2wav.fake import FakeStream, FakeSynthesizer
from serve_app.graph.fake import FakeServeBackend
from serve_app.http.application import create_http_app
from serve_app.http.settings import HttpSettings
from tests.integration.http.helpers import MODEL
from tests.sounds import tone

SCHEDULE = ChunkSchedule()


class ToneStream(FakeStream):
    """Hums 440 Hz for as long as its tokens last."""

    _said = 0

    async def synthesize(self, chunk: Chunk) -> bytes:
        samples = len(await super().synthesize(chunk)) // 2
        self._said += samples
        return tone(samples, self._said - samples)


class ToneSynthesizer(FakeSynthesizer):
    async def open(self, voice: Any, **options: Any) -> Any:
        await super().open(voice)
        return ToneStream(self, SCHEDULE)


def humming(**settings: Any) -> FastAPI:
    """The HTTP application over a graph whose every answer is a tone."""
    backend = FakeServeBackend(FakeThinkerEngine(), ToneSynthesizer(SCHEDULE))
    backend._started = True
    return create_http_app(backend, HttpSettings(models=(MODEL,), **settings))
