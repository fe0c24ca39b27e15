"""The graph that Ray Serve runs, behind the handles of its two stages."""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import TypeVar

from ray import serve
from ray.serve.handle import DeploymentHandle

from deployments.hedged_calls import hedged
from deployments.liveness.watch import Watch
from deployments.messages import (
    ReferenceAudio,
    SpeechDelta,
    SpeechRequest,
    ThinkerDelta,
    ThinkerRequest,
)
from deployments.resume import Recovery, Tries
from deployments.stage_calls import is_lost, spoken, written
from serve_app.graph.answers import text_only

# States of a replica that takes requests. One whose node is to go takes them until its substitute
# runs, and all do while a controller that was restarted looks for its replicas.
SERVING = frozenset({"RUNNING", "PENDING_MIGRATION", "RECOVERING"})
PREPARED_WITHIN_S = 10.0  # a voice; what takes longer is begun beside it elsewhere
HEARD_WITHIN_S = 1.0  # a stage that answered so lately has a replica that runs

T = TypeVar("T")
Call = Callable[[], Awaitable[T]]


class ServeBackend:
    """Implements `serve_app.graph.backend.Backend` over the handles of the two stages.

    Answers that come say that the stages run; Serve is asked only in silence, for its status takes
    30 ms of Python, during which the event loop waits for the interpreter again and again.
    """

    def __init__(
        self,
        thinker: DeploymentHandle,
        token2wav: DeploymentHandle | None,
        recovery: Recovery,
    ) -> None:
        self._thinker = thinker.options(stream=True, _by_reference=False)
        self._token2wav = token2wav and token2wav.options(stream=True, _by_reference=False)
        self._token2wav_calls = token2wav
        self._recovery = recovery
        self._thinker_watch = Watch(recovery.silence_s)
        self._token2wav_watch = Watch(recovery.silence_s)
        self._voices: tuple[str, ...] | None = None
        self._wrote_at = self._spoke_at = -math.inf

    async def text(self, request: ThinkerRequest) -> AsyncGenerator[ThinkerDelta]:
        """Text-only answers go straight to the Thinker."""
        call, tries = self._thinker.generate.remote, Tries(self._recovery.tries)
        answer = written(request, call, self._recovery, tries, self._thinker_watch)
        async with aclosing(answer) as deltas:
            async for delta in deltas:
                self._wrote_at = time.monotonic()
                yield delta

    async def speech(self, request: SpeechRequest) -> AsyncGenerator[SpeechDelta]:
        """Spoken answers come from Token2Wav, which pulls the Thinker's tokens itself."""
        if self._token2wav is None:
            raise text_only()
        call = self._token2wav.speak.remote
        answer = spoken(request, call, self._recovery, self._token2wav_watch)
        async with aclosing(answer) as deltas:
            async for delta in deltas:
                self._spoke_at = time.monotonic()
                yield delta

    async def voices(self) -> tuple[str, ...]:
        """Names of the configured voices, the default one first."""
        if self._voices is None:
            if self._token2wav_calls is None:
                self._voices = ()
            else:
                calls = self._token2wav_calls
                ask: Call[tuple[str, ...]] = calls.voices.remote
                self._voices = await self._hedged(ask, self._recovery.silence_s)
        return self._voices

    async def prepare_voice(self, request_id: str, recording: ReferenceAudio) -> None:
        """One replica prepares it; the others do when they first speak in it."""
        if self._token2wav_calls is None:
            raise text_only()
        calls = self._token2wav_calls.options(_by_reference=False)
        prepare = partial(calls.prepare.remote, request_id, recording)
        await self._hedged(prepare, PREPARED_WITHIN_S)

    async def _hedged(self, call: Call[T], after_s: float) -> T:
        """A call that answers once, made again as often as a stream is tried again."""
        return await hedged(call, is_lost, after_s, 1 + self._recovery.tries)

    async def ready(self) -> bool:
        """Whether every stage has a replica that runs."""
        heard_at = self._wrote_at if self._token2wav is None else self._spoke_at
        if time.monotonic() - heard_at < HEARD_WITHIN_S:
            return True
        running = await self._running()
        return bool(running) and all(running.values())

    async def ready_for_text(self) -> bool:
        """Whether the Thinker has one: transcription goes on while Token2Wav restarts."""
        if time.monotonic() - max(self._wrote_at, self._spoke_at) < HEARD_WITHIN_S:
            return True
        return (await self._running()).get("Thinker", False)

    async def _running(self) -> dict[str, bool]:
        status = await asyncio.to_thread(serve.status)  # it waits for the controller
        graph = status.applications.get(serve.get_replica_context().app_name)
        stages = graph.deployments if graph else {}
        return {name: bool(SERVING & stage.replica_states.keys()) for name, stage in stages.items()}
