"""The server that the page talks to: the real application; its answers are tones."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from deployments.messages import AudioPart, TextPart, ThinkerDelta, ThinkerRequest
from deployments.thinker.fake import FakeThinkerEngine
from deployments.voice_store import VoiceStore
from serve_app.graph.fake import FakeServeBackend
from serve_app.http.application import create_http_app
from serve_app.http.serve_middlewares import Front
from serve_app.http.settings import HttpSettings
from tests.integration.http.helpers import MODEL
from tests.integration.http.humming import SCHEDULE, ToneSynthesizer
from tests.served import served

LONG = "This is a long answer that goes on for a while, so that one can interrupt it."
SECONDS_PER_DELTA = 0.05  # a delta has 0.16 s of sound or more: faster than it plays


class TalkativeThinker(FakeThinkerEngine):
    """Answers aloud with LONG whatever is said by voice, which takes 12 s."""

    async def generate(self, request: ThinkerRequest) -> AsyncGenerator[ThinkerDelta]:
        last = request.messages[-1]
        if request.reply == "speech" and any(isinstance(one, AudioPart) for one in last.parts):
            told = replace(last, parts=(TextPart(LONG),))
            request = replace(request, messages=(*request.messages[:-1], told))
        async for delta in super().generate(request):
            yield delta


@contextmanager
def page_server(folder: Path, **settings: Any) -> Iterator[str]:
    """The address of the page, until the block ends; uploaded voices are kept in `folder`."""
    thinker = TalkativeThinker(SECONDS_PER_DELTA)
    backend = FakeServeBackend(thinker, ToneSynthesizer(SCHEDULE, voices=("anna",)))
    backend._started = True  # Playwright runs a loop in this thread: no other can run
    http = HttpSettings(models=(MODEL,), **settings)
    app = create_http_app(backend, http, voice_store=VoiceStore(str(folder)))
    with served(Front(app)) as url:
        yield f"{url}/"
