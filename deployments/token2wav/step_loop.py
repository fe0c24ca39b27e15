"""Chunks wait here until a step takes them: one step after another, as `schedule` says."""

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from deployments.chunker import AUDIO_TOKEN_S
from deployments.errors import EngineFailed
from deployments.token2wav.admission import Admission
from deployments.token2wav.background import LOOK_AGAIN_S, let_in, most_rows
from deployments.token2wav.contract import StepEngine, StepInput, StepOutput
from deployments.token2wav.engine_threads import Runner
from deployments.token2wav.observer import ChunkReport, StepReport, SynthesisObserver
from deployments.token2wav.schedule import Listener, held_until_s, next_batch, next_due_s

FAILED_STEPS_ARE_DEAD = 3  # consecutive steps: a GPU that has faulted fails every later step
BROKEN_STREAMS_ARE_DEAD = 3  # consecutive streams: a fault of one stream ends with it
SHORTEST_WAIT_S = 1e-4  # less may be lost in rounding: the loop would turn while no time passes
logger = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class WaitingChunk:
    """One stream's chunk, waiting for a step."""

    input: StepInput
    listener: Listener
    output: asyncio.Future[StepOutput]
    arrived_s: float

    def is_late(self, now_s: float) -> bool:
        """Whether its listener hears a gap because it waits for a step, not for tokens."""
        until_s = self.listener.plays_until_s
        return until_s is not None and self.arrived_s <= until_s < now_s and not self.output.done()

    def report(self) -> ChunkReport:
        until_s = self.listener.plays_until_s
        return ChunkReport(len(self.input.tokens), self.input.last, self.arrived_s, until_s)


class StepLoop:
    """Runs an engine's steps as long as `run_forever` does."""

    def __init__(
        self,
        engine: StepEngine,
        runner: Runner,
        listeners: Collection[Listener],
        *,
        max_batch: int,
        admission: Admission,
        observer: SynthesisObserver,
        now_s: Callable[[], float],
    ) -> None:
        """`listeners` are those of all open streams; a caller that changes them calls `wake`."""
        self._engine = engine
        self._runner = runner
        self._listeners = listeners
        self._max_batch = max_batch
        self._admission = admission
        self._observer = observer
        self._now_s = now_s
        self._waiting: list[WaitingChunk] = []
        self._woken = asyncio.Event()
        self._in_step = False
        self._step_s = 0.0  # of the latest step
        self._failed_steps = 0  # consecutive
        self._broken_streams = 0  # consecutive

    @property
    def is_idle(self) -> bool:
        """Whether no chunk waits and no step runs."""
        return not (self._waiting or self._in_step)

    @property
    def is_late(self) -> bool:
        """Whether a listener hears a gap because a chunk waits for a step."""
        now_s = self._now_s()
        return any(chunk.is_late(now_s) for chunk in self._waiting)

    def require_alive(self) -> None:
        """Raise EngineFailed once several consecutive steps or streams have failed."""
        if self._failed_steps >= FAILED_STEPS_ARE_DEAD:
            raise EngineFailed(f"Token2Wav's last {self._failed_steps} steps failed")
        if self._broken_streams >= BROKEN_STREAMS_ARE_DEAD:
            raise EngineFailed(f"Token2Wav's last {self._broken_streams} streams were not finite")

    def wake(self) -> None:
        """Decide again: there may be fewer streams to wait for."""
        self._woken.set()

    async def step(self, chunk: StepInput, listener: Listener) -> StepOutput:
        """Run one stream's chunk in one of the next steps.

        Raises:
            ValueError: a token is outside the codebook.
            EngineFailed: the step failed, or what it made of this chunk is not finite.
        """
        for token in chunk.tokens:
            if not 0 <= token < self._engine.codebook_size:
                raise ValueError(f"audio token {token} is outside the codebook")
        output: asyncio.Future[StepOutput] = asyncio.get_running_loop().create_future()
        self._waiting.append(WaitingChunk(chunk, listener, output, self._now_s()))
        self.wake()
        return await output

    async def run_forever(self) -> None:
        held_since_s: float | None = None  # when a step could have started
        while True:
            self._woken.clear()
            self._waiting = [chunk for chunk in self._waiting if not chunk.output.cancelled()]
            now_s = self._now_s()
            open_streams = len(self._listeners)
            ready = let_in(self._waiting, self._listeners, now_s, self._step_s)
            max_batch = most_rows(ready, self._listeners, self._max_batch)
            batch = next_batch(ready, now_s, open_streams=open_streams, max_batch=max_batch)
            if not batch:
                held_since_s = None
                until_s = next_due_s(ready)
            else:
                held_since_s = now_s if held_since_s is None else held_since_s
                until_s = held_until_s(ready, held_since_s, now_s)
                all_here = len(self._waiting) >= min(open_streams, max_batch)
                if all_here or until_s <= now_s:
                    taken = {id(chunk) for chunk in batch}
                    self._waiting = [one for one in self._waiting if id(one) not in taken]
                    await self._step(batch, held_s=now_s - held_since_s)
                    held_since_s = None
                    continue
            if len(ready) < len(self._waiting):
                until_s = min(until_s or math.inf, now_s + LOOK_AGAIN_S)
            with contextlib.suppress(TimeoutError):
                within_s = None if until_s is None else max(until_s - now_s, SHORTEST_WAIT_S)
                await asyncio.wait_for(self._woken.wait(), within_s)

    async def _step(self, chunks: Sequence[WaitingChunk], held_s: float) -> None:
        reports = tuple(chunk.report() for chunk in chunks)
        open_streams, left_waiting = len(self._listeners), len(self._waiting)
        rows = [chunk.input for chunk in chunks]
        began_s = self._now_s()
        for chunk in chunks:
            chunk.listener.step_began_s = began_s
        outputs: Sequence[StepOutput] = ()
        self._in_step = True
        try:
            outputs = await self._runner.run(lambda: self._engine.step(rows))
        except Exception:
            logger.exception("a synthesis step of %d streams failed", len(rows))
            self._fail(chunks)
        finally:
            self._in_step = False
        ended_s = self._now_s()
        self._step_s = ended_s - began_s
        if outputs:
            speech_s = AUDIO_TOKEN_S * sum(map(self._consumed, rows))
            self._admission.note_step(len(rows), speech_s, ended_s - began_s, ended_s)
            self._hand_over(chunks, outputs)
        self._observer.step_ended(
            StepReport(
                began_s,
                ended_s,
                held_s,
                open_streams,
                left_waiting,
                reports,
                failed=not outputs,
                broken=sum(not output.finite for output in outputs),
            )
        )

    def _consumed(self, row: StepInput) -> int:
        return len(row.tokens) - (0 if row.last else self._engine.lookahead)

    def _fail(self, chunks: Sequence[WaitingChunk]) -> None:
        self._failed_steps += 1
        for chunk in chunks:
            if not chunk.output.done():
                chunk.output.set_exception(EngineFailed("a synthesis step failed"))

    def _hand_over(self, chunks: Sequence[WaitingChunk], outputs: Sequence[StepOutput]) -> None:
        self._failed_steps = 0
        broken = sum(not output.finite for output in outputs)
        self._broken_streams = self._broken_streams + broken if broken == len(outputs) else 0
        if broken:
            logger.error("%d of %d streams of a step were not finite", broken, len(outputs))
        for chunk, output in zip(chunks, outputs, strict=True):
            if chunk.output.done():
                continue
            if output.finite:
                chunk.output.set_result(output)
            else:
                error = EngineFailed("the sound of this answer is not finite")
                chunk.output.set_exception(error)
