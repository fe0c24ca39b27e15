"""A fake of the graph for tests: both stages in this process, without Ray.

What is not Ray's is the served code: a spoken answer lives in `spoken_answer.answer_aloud`.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from deployments.messages import (
    ReferenceAudio,
    SpeechDelta,
    SpeechRequest,
    ThinkerDelta,
    ThinkerRequest,
)
from deployments.spoken_answer.traced_speech import traced_aloud
from deployments.stages import Synthesizer, ThinkerEngine
from deployments.thinker.traced_turn import traced_turn
from serve_app.graph.answers import text_only


class FakeServeBackend:
    """Both stages in this process, joined as the graph joins them."""

    def __init__(self, thinker: ThinkerEngine, synthesizer: Synthesizer | None) -> None:
        self._thinker = thinker
        self._synthesizer = synthesizer
        self._started = False

    async def start(self) -> None:
        """Start the engines; `ready` once they have."""
        await self._thinker.start()
        if self._synthesizer is not None:
            await self._synthesizer.start()
        self._started = True

    async def text(self, request: ThinkerRequest) -> AsyncGenerator[ThinkerDelta]:
        async with aclosing(traced_turn(request, self._thinker)) as deltas:
            async for delta in deltas:
                yield delta

    async def speech(self, request: SpeechRequest) -> AsyncGenerator[SpeechDelta]:
        if self._synthesizer is None:
            raise text_only()
        spoken = traced_aloud(request, self._synthesizer, self._think)
        async with aclosing(spoken):
            async for delta in spoken:
                yield delta

    def _think(self, request: ThinkerRequest) -> AsyncGenerator[ThinkerDelta]:
        return traced_turn(request, self._thinker)

    async def voices(self) -> tuple[str, ...]:
        return self._synthesizer.voices() if self._synthesizer is not None else ()

    async def prepare_voice(self, request_id: str, recording: ReferenceAudio) -> None:
        if self._synthesizer is None:
            raise text_only()
        await self._synthesizer.prepare(recording)

    async def ready(self) -> bool:
        return self._started

    async def ready_for_text(self) -> bool:
        return self._started
