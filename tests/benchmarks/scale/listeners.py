"""Clients who hear answers over HTTP, and count what comes."""

import asyncio
import json
from dataclasses import dataclass, field

from deployments.messages import OUTPUT_SAMPLE_RATE_HZ
from tests.integration.http.helpers import MODEL

BYTES_A_S = 2 * OUTPUT_SAMPLE_RATE_HZ
BODY = json.dumps(
    {"model": MODEL, "voice": "default", "input": "hello", "response_format": "pcm"}
).encode()
HEAD = (
    b"POST /v1/audio/speech HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n" % len(BODY)
)
READ = 1 << 17


@dataclass
class Audience:
    """Listeners of one server; `heard_s` is the sound that all of them got."""

    port: int
    heard_bytes: int = 0
    begun: int = 0
    errors: list[str] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def heard_s(self) -> float:
        return self.heard_bytes / BYTES_A_S

    async def grow(self, listeners: int, patience_s: float) -> None:
        """Add listeners until so many hear something, or the time is over."""
        while len(self.tasks) < listeners:
            self.tasks.append(asyncio.create_task(self._listen()))
            await asyncio.sleep(0.005)
        ends_s = self._now_s() + patience_s
        while self.begun + len(self.errors) < listeners and self._now_s() < ends_s:
            await asyncio.sleep(0.1)

    async def leave(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _listen(self) -> None:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.write(HEAD + BODY)
            first = await reader.read(READ)
            if not first.startswith(b"HTTP/1.1 200"):
                raise ConnectionError(first[:80])
            self.begun += 1
            try:
                while piece := await reader.read(READ):
                    self.heard_bytes += len(piece)
            finally:
                writer.close()
        except OSError as error:
            self.errors.append(repr(error))

    @staticmethod
    def _now_s() -> float:
        return asyncio.get_running_loop().time()
