"""The HTTP application over a graph that sends sound at the pace of its playback.

Chunks are cut as Token2Wav cuts them, and come half a second before the listener needs them. The
sound is made once, and Ray's handles are not in between: what is measured is HTTP alone.

    python -m tests.benchmarks.scale.ingress_server     prints its port
"""

import asyncio
import os
import socket
from collections.abc import AsyncGenerator
from itertools import count

import uvicorn

from deployments.chunker import AUDIO_TOKEN_S, ChunkSchedule
from deployments.messages import OUTPUT_SAMPLE_RATE_HZ, SpeechDelta, SpeechRequest
from serve_app.graph.fake import FakeServeBackend
from serve_app.http.application import create_http_app
from serve_app.http.settings import HttpSettings
from tests.integration.http.conftest import Graph
from tests.integration.http.helpers import MODEL

AHEAD_S = 0.5
SCHEDULE = ChunkSchedule()


class PacedBackend(FakeServeBackend):
    """Speaks without an end: a client that has heard enough leaves."""

    async def speech(self, request: SpeechRequest) -> AsyncGenerator[SpeechDelta]:
        now_s = asyncio.get_running_loop().time
        plays_until_s = now_s()
        for index in count():
            seconds = SCHEDULE.size(index) * AUDIO_TOKEN_S
            sound = os.urandom(64) * (round(seconds * OUTPUT_SAMPLE_RATE_HZ) * 2 // 64)
            yield SpeechDelta(pcm=sound)
            plays_until_s += seconds
            await asyncio.sleep(max(0.0, plays_until_s - AHEAD_S - now_s()))


def main() -> None:
    graph = Graph()
    backend = PacedBackend(graph.thinker, graph.synthesizer)
    asyncio.run(backend.start())
    app = create_http_app(backend, HttpSettings(models=(MODEL,)))
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
