"""Many streams, one engine: every step serves all streams that are ready.

The engine is synchronous and sees no requests. A chunk waits in `StepLoop` for a step, which
runs in a thread of its own; `schedule` says when a step starts and which chunks it takes.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from deployments.chunker import Chunk, Chunker, ChunkSchedule
from deployments.errors import EngineFailed, ServerFull
from deployments.messages import OUTPUT_SAMPLE_RATE_HZ, SpokenSoFar, Voice
from deployments.priority import Priority
from deployments.stages import LONGEST_CPU_STEP_S, Steps
from deployments.token2wav.admission import Admission
from deployments.token2wav.canary import Canary, canary_tokens
from deployments.token2wav.configured_voices import VoiceRecording
from deployments.token2wav.contract import StepEngine, StepInput, StepOutput
from deployments.token2wav.engine_threads import CountingRunner, Runner, ThreadRunner
from deployments.token2wav.observer import SynthesisObserver, Unobserved
from deployments.token2wav.schedule import Listener
from deployments.token2wav.step_loop import StepLoop
from deployments.token2wav.stream_slots import StreamPlaces
from deployments.token2wav.voice_cache import ReadStored, VoiceCache, nothing_stored

logger = logging.getLogger(__name__)
BYTES_PER_SAMPLE = 2
BYTES_PER_S = BYTES_PER_SAMPLE * OUTPUT_SAMPLE_RATE_HZ

Schedules = Callable[[int, int], ChunkSchedule]


class BatchingSynthesizer:
    """Implements `deployments.stages.Synthesizer` over a batched engine."""

    def __init__(
        self,
        load: Callable[[], StepEngine],
        recordings: Mapping[str, VoiceRecording],
        schedules: Schedules,
        *,
        max_batch: int,
        cached_voices: int,
        longest_step_s: float = LONGEST_CPU_STEP_S,
        read_stored: ReadStored = nothing_stored,
        observer: SynthesisObserver | None = None,
        admission: Callable[[int | None], Admission] = Admission,
        runner: Callable[[str], Runner] = ThreadRunner,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            load: makes the engine; it runs in the thread that will run the steps.
            recordings: of `default` and of every other configured voice.
            schedules: the chunks of an answer, by the number of streams that are open when it
                begins and the number of tokens that a chunk sees ahead.
            max_batch: the most streams of one step.
            cached_voices: how many recordings, uploaded or of requests, stay prepared.
            longest_step_s: as `Synthesizer.longest_step_s`.
            read_stored: reads the recording of an uploaded voice.
            observer: gets reports of steps, refusals and voices.
            admission: makes what decides whether there is time for one more stream; its argument
                is that of `Admission`.
            runner: makes a thread of that name.
            now_s: a monotonic clock, in seconds.
        """
        self._load = load
        self._recordings = recordings
        self._schedules = schedules
        self._max_batch = max_batch
        self._cached_voices = cached_voices
        self.longest_step_s = longest_step_s
        self._read_stored = read_stored
        self._observer = observer or Unobserved()
        self._admission = admission
        self._steps = CountingRunner(runner("token2wav"), now_s)
        self._encoding = runner("token2wav-voices")
        self._now_s = now_s
        self._listeners: set[Listener] = set()
        self._places = StreamPlaces()
        self._canary = Canary()
        self._running: _Running | None = None

    async def start(self) -> None:
        """Load the engine, prepare every configured voice and speak one answer."""
        try:
            await self._start()
        except BaseException:
            self.close()  # now: a finalizer would take the locks of threads in a collection
            raise

    async def _start(self) -> None:
        engine = await self._steps.run(self._load)
        # where rows do not share a step, steps of one row serve the most urgent listener first
        max_batch = self._max_batch if engine.rows_share_a_step else 1
        admission = self._admission(max(2, max_batch // 2) if engine.rows_share_a_step else None)
        voices = VoiceCache(
            engine,
            beside_steps=self._encoding,
            between_steps=self._steps,
            recordings=self._cached_voices,
            observer=self._observer,
            now_s=self._now_s,
            read_stored=self._read_stored,
        )
        await voices.prepare_configured(self._recordings)
        logger.info("Token2Wav: holds up to %d streams", engine.max_streams)
        loop = StepLoop(
            engine,
            self._steps,
            self._listeners,
            max_batch=max_batch,
            admission=admission,
            observer=self._observer,
            now_s=self._now_s,
        )
        stepping = asyncio.create_task(loop.run_forever())
        self._running = _Running(engine, voices, admission, loop, stepping)
        await self._warm_up()
        await self._hear_canary(self._running)

    def steps(self) -> Steps:
        """As `Synthesizer.steps`. The pieces of a voice's preparation between the steps count."""
        return self._steps.steps()

    def voices(self) -> tuple[str, ...]:
        return tuple(self._recordings)

    async def prepare(self, voice: Voice) -> None:
        """As `Synthesizer.prepare`; it runs beside the steps."""
        await self._require_running().voices.prepared(voice)

    async def open(
        self,
        voice: Voice,
        *,
        streamed: bool = True,
        priority: Priority = "live",
        so_far: SpokenSoFar | None = None,
    ) -> "SpokenStream":
        """As `Synthesizer.open`."""
        try:
            return await self._open(voice, streamed, priority, so_far)
        except ServerFull as error:
            if so_far is not None and priority == "live":
                self._places.keep(self._now_s())
            self._observer.stream_refused(error.reason)
            raise

    async def _open(
        self, voice: Voice, streamed: bool, priority: Priority, so_far: SpokenSoFar | None
    ) -> "SpokenStream":
        running, now_s = self._require_running(), self._now_s()
        heard = so_far.samples if so_far else 0
        schedule = so_far.schedule if so_far else self._schedule(running.engine, set())
        listener = Listener(now_s, schedule, streamed, priority, replays=bool(heard))
        goes_on = so_far is not None
        places = running.engine.max_streams
        self._places.require(self._listeners, listener, places, now_s, goes_on=goes_on)
        late = running.loop.is_late
        if not goes_on and not running.admission.fits(self._listeners, listener, now_s, late=late):
            raise ServerFull(reason="time")
        self._listeners.add(listener)  # before any await, so that two callers cannot take one place
        try:
            state = running.engine.open(await running.voices.prepared(voice))
        except BaseException:
            self._listeners.discard(listener)
            raise
        self._observer.stream_opened(len(self._listeners))
        return SpokenStream(self, state, listener, heard, settled=goes_on)

    async def check_health(self) -> None:
        """Raise EngineFailed when no stream can be served any more.

        An engine with nothing to do is asked every few seconds whether it still gives the sound
        that it gave at start.
        """
        running = self._running
        if running is None or running.stepping.done():
            raise EngineFailed("Token2Wav's engine has stopped")
        running.loop.require_alive()
        now_s = self._now_s()
        if self._canary.is_due(now_s) and self._has_time(running.loop, now_s):
            with contextlib.suppress(ServerFull):  # others have all the places
                await self._hear_canary(running)
        self._canary.require_alive()

    def close(self) -> None:
        """May be called twice, also by a finalizer."""
        if self._running is not None:
            self._running.stepping.cancel()
        self._steps.close()
        self._encoding.close()

    @property
    def open_streams(self) -> int:
        """Streams that are open now."""
        return len(self._listeners)

    @property
    def places(self) -> int:
        """As `Synthesizer.places`."""
        return self._require_running().engine.max_streams

    def headroom(self) -> float:
        """As `Synthesizer.headroom`."""
        time_left = self._require_running().admission.time_left(self._listeners, self._now_s())
        return min(time_left, 1 - self.open_streams / self.places)

    def schedule_of(self, listener: Listener) -> ChunkSchedule:
        """How a stream that is open would be cut if it began now."""
        return self._schedule(self._require_running().engine, {listener})

    async def step(self, chunk: StepInput, listener: Listener) -> StepOutput:
        """Run one stream's chunk."""
        return await self._require_running().loop.step(chunk, listener)

    def replayed(self, listener: Listener, *, replays: bool) -> None:
        """Take note of a chunk that was heard before, and of whether the next one was."""
        listener.replayed(self._now_s(), replays=replays)

    def sent(self, pcm_bytes: int, listener: Listener) -> None:
        """Take note of sound that goes to a stream's listener."""
        listener.sent(pcm_bytes / BYTES_PER_S, self._now_s())

    def close_stream(self, state: Any, listener: Listener) -> None:
        """Free a stream's place; the stream may still be in a step."""
        running = self._require_running()
        self._listeners.discard(listener)
        running.loop.wake()
        running.engine.close(state)
        self._observer.stream_closed(len(self._listeners))

    async def _warm_up(self) -> None:
        """Speak an answer without a listener: every size of chunk, the longest last one too."""
        stream = await self.open(None)
        schedule = stream.schedule
        chunker = Chunker(schedule)
        # one token short of a second steady chunk
        tokens = sum(schedule.ramp) + 2 * schedule.steady + schedule.lookahead - 1
        for chunk in chunker.push([0] * tokens):
            await stream.synthesize(chunk)
        if last := chunker.finish():
            await stream.synthesize(last)
        stream.close()

    def _schedule(self, engine: StepEngine, without: set[Listener]) -> ChunkSchedule:
        """For a stream that begins beside the live ones of all others."""
        others = self._listeners - without
        live = sum(one.priority == "live" for one in others)
        return self._schedules(live, engine.lookahead)

    def _has_time(self, loop: StepLoop, now_s: float) -> bool:
        """Whether a step without a listener can begin now and delay no stream."""
        free_until_s = now_s + 2 * self._canary.took_s
        return loop.is_idle and all(one.due_at_s > free_until_s for one in self._listeners)

    async def _hear_canary(self, running: "_Running") -> None:
        """Speak a short answer in the default voice, beside no other."""
        engine = running.engine
        state = engine.open(await running.voices.prepared(None))
        row = StepInput(state, canary_tokens(engine.codebook_size), last=True)
        began_s = self._now_s()
        try:
            (output,) = await self._steps.run(lambda: engine.step([row]))
        except Exception as error:
            raise EngineFailed("a synthesis step failed") from error
        finally:
            engine.close(state)
        if not output.finite:
            raise EngineFailed("Token2Wav's engine makes no finite samples")
        self._canary.hear(output.pcm, began_s, self._now_s())

    def _require_running(self) -> "_Running":
        if self._running is None:
            raise EngineFailed("Token2Wav's engine has not started")
        return self._running


@dataclass(frozen=True, slots=True)
class _Running:
    """What there is once the engine is loaded."""

    engine: StepEngine
    voices: VoiceCache
    admission: Admission
    loop: StepLoop
    stepping: asyncio.Task[None]


class SpokenStream:
    """Implements `deployments.stages.SpeechStream`; holds nothing but its stream's state."""

    def __init__(
        self,
        synthesizer: BatchingSynthesizer,
        state: Any,
        listener: Listener,
        heard: int = 0,
        *,
        settled: bool = False,
    ) -> None:
        """
        Args:
            heard: the samples from the stream's beginning that its listener has already.
            settled: its schedule is that of the replica that began it.
        """
        self._synthesizer = synthesizer
        self._state = state
        self._listener = listener
        self._heard_bytes = BYTES_PER_SAMPLE * heard
        self._settled = settled
        self._open = True

    @property
    def schedule(self) -> ChunkSchedule:
        return self._listener.schedule

    @property
    def step_began_s(self) -> float | None:
        return self._listener.step_began_s

    def settle_schedule(self) -> ChunkSchedule:
        """As `SpeechStream.settle_schedule`. The Thinker goes by the schedule that it was asked by.

        Where many answers begin at one moment, the first of them began with a small chunk only
        because the others had not come. The second chunk of such a stream would be late. A first
        chunk never becomes smaller: its tokens are there already.
        """
        if not self._settled:
            self._settled = True
            planned, now = self.schedule, self._synthesizer.schedule_of(self._listener)
            self._listener.schedule = now if now.size(0) > planned.size(0) else planned
        return self.schedule

    def play_at(self, speed: float) -> None:
        self._listener.speed = speed

    async def synthesize(self, chunk: Chunk) -> bytes:
        if not self._open:
            raise RuntimeError("the stream is closed")
        row = StepInput(self._state, chunk.tokens, chunk.last)
        output = await self._synthesizer.step(row, self._listener)
        self._state = output.state
        heard = min(self._heard_bytes, len(output.pcm))
        self._heard_bytes -= heard
        if heard < len(output.pcm):
            self._synthesizer.sent(len(output.pcm) - heard, self._listener)
        elif self._listener.replays:
            self._synthesizer.replayed(self._listener, replays=self._heard_bytes > 0)
        return output.pcm

    def close(self) -> None:
        if self._open:
            self._open = False
            self._synthesizer.close_stream(self._state, self._listener)
