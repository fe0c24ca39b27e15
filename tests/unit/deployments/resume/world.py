"""Both stages in this process, joined as Ray joins them, with faults in between."""

import asyncio
import itertools
import random
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Literal

from deployments.errors import EngineFailed, EngineLost, ThinkerLost
from deployments.liveness.heartbeats import Heartbeats
from deployments.liveness.routes import ROUTES
from deployments.liveness.watch import Watch
from deployments.messages import (
    NextPart,
    SpeechDelta,
    SpeechRequest,
    ThinkerDelta,
    ThinkerRequest,
)
from deployments.resume import Policy, Recovery, SpokenProgress, Tries, WrittenProgress, resumed
from deployments.spoken_answer.answer_aloud import answer_aloud
from deployments.stages import LONGEST_GPU_STEP_S, Steps
from tests.unit.deployments.resume.chained import (
    SCHEDULES,
    ChainedSynthesizer,
    ChainedThinker,
)
from tests.unit.deployments.resume.virtual_loop import VirtualLoop

RECOVERY = Recovery()
TRIES = RECOVERY.tries
LOOP = VirtualLoop()

Stage = Literal["Thinker", "Token2Wav", "listener"]
STAGES: tuple[Stage, ...] = ("Thinker", "Token2Wav")
DEATHS = ("error", "foreign cancellation", "silent end")
HANGS = ("hang", "late zombie", "stuck")
BREAKS = (*DEATHS, *HANGS)
DISORDERS = ("duplicate", "gap")
OF_STEPS = ("slow", "stuck")
LASTING = ("slow", "late zombie")
FOUND_WITHIN_S = 3.0  # of one break: the silence of a replica, and the wait before the next attempt
STUCK_S = LONGEST_GPU_STEP_S
ROUNDING_S = 1e-6  # of the loop's clock
ZOMBIE_S = 2.6  # after this a replica that hung speaks again: it was given up meanwhile


class Lost(Exception):
    """A replica that died."""


class Cancelled(Exception):
    """What Ray raises in the reader of a call that was cancelled."""


@dataclass(frozen=True)
class Fault:
    """What goes wrong before a stage's message of that number, counted over all attempts."""

    stage: Stage  # or the listener, who is slow to take the next one
    message: int
    kind: str
    seconds: float = ZOMBIE_S  # of a late zombie, and of what is slow


Point = tuple[Stage, Literal["message", "step"], int]
"""Where a run asks whether it has a fault: a message on its way, or a step before it is made."""


def by_point(faults: tuple[Fault, ...]) -> dict[Point, Fault]:
    """Where each of `faults` happens; of two at one point the latter."""
    return {
        (fault.stage, "step" if fault.kind in OF_STEPS else "message", fault.message): fault
        for fault in faults
    }


class RemoteCall:
    """A streaming call of a replica in another process, as Ray's handles give it.

    What the replica says waits here until it is read. Only a replica that runs hears that its call
    is cancelled. One that was frozen speaks on, to nobody.
    """

    def __init__(self, world: "World", stage: Stage, deltas: AsyncGenerator[Any]) -> None:
        self._world, self._stage = world, stage
        self._said: deque[Any] = deque()
        self._reader: asyncio.Future[None] | None = None
        self._is_cancelled = self._is_frozen = False
        self._process = LOOP.create_task(self._answer(deltas))

    def __aiter__(self) -> "RemoteCall":
        return self

    async def __anext__(self) -> Any:
        if not self._said:
            self._reader = LOOP.create_future()
            await self._reader
        said = self._said.popleft()
        if not isinstance(said, BaseException):
            return said
        try:
            raise said
        finally:
            del said  # which knows this frame

    def cancel(self) -> None:
        if not self._is_cancelled:
            self._say(Cancelled())
            self._is_cancelled = True
            if not self._is_frozen:
                self._process.cancel()

    def _say(self, what: Any) -> None:
        if not self._is_cancelled:
            self._said.append(what)
            if self._reader is not None and not self._reader.done():
                self._reader.set_result(None)

    async def _answer(self, deltas: AsyncGenerator[Any]) -> None:
        try:
            async with aclosing(deltas):
                async for delta in deltas:
                    if is_alone(delta) or not (fault := self._world.next_fault(self._stage)):
                        self._say(self._world.altered(self._stage, delta))
                    else:
                        await self._pass(delta, fault)
        except BaseException as error:
            self._say(error.with_traceback(None))
        self._say(StopAsyncIteration())

    async def _pass(self, delta: Any, fault: Fault) -> None:
        match fault.kind:
            case "error":
                raise Lost(self._stage)
            case "foreign cancellation":
                raise asyncio.CancelledError()
            case "silent end":
                raise StopAsyncIteration
            case "hang":
                await self._freeze(None)
            case "late zombie":
                await self._freeze(fault.seconds)
            case "duplicate":
                self._say(delta)
            case "gap":
                return
        self._say(self._world.altered(self._stage, delta))

    async def _freeze(self, seconds: float | None) -> None:
        self._is_frozen = True
        await asyncio.sleep(10_000 if seconds is None else seconds)
        self._is_frozen = False


class StepClock:
    """That of an engine, which may stick in a step."""

    def __init__(self) -> None:
        self.stuck_since_s: float | None = None

    def steps(self) -> Steps:
        since_s = self.stuck_since_s
        return Steps(0, 0.0 if since_s is None else LOOP.time() - since_s)


class Replica:
    """As much of a stage's deployment as lies around its engine."""

    def __init__(self, stage: Stage, world: "World") -> None:
        self._stage, self._world = stage, world
        self._clock = StepClock()
        self._heartbeats = Heartbeats(self._clock.steps, STUCK_S)

    def call(self, deltas: AsyncGenerator[Any], nothing: Any) -> RemoteCall:
        deltas = self._made(deltas)
        if self._world.beats:
            deltas = self._heartbeats.among(deltas, nothing)
        return RemoteCall(self._world, self._stage, deltas)

    async def _made(self, deltas: AsyncGenerator[Any]) -> AsyncGenerator[Any]:
        """What the engine makes; before some of it there it is slow, or sticks in a step."""
        async with aclosing(deltas):
            async for delta in deltas:
                fault = self._world.next_step(self._stage)
                if fault is not None and fault.kind == "slow":
                    await asyncio.sleep(fault.seconds)
                if fault is not None and fault.kind == "stuck":
                    self._clock.stuck_since_s = LOOP.time()
                    await asyncio.sleep(10_000)
                yield delta


class World:
    """A server of both stages, and the faults that it will have."""

    def __init__(
        self, faults: tuple[Fault, ...], begun: int = 0, tokens: int = 26, *, beats: bool = True
    ) -> None:
        """`beats`: whether its stages send heartbeats, and are known to."""
        self.beats = beats
        self._faults = by_point(faults)
        self.asked: list[tuple[Point, Fault | None]] = []  # for a fault, and what there was
        self.messages = {stage: itertools.count() for stage in STAGES}
        self.steps = {stage: itertools.count() for stage in STAGES}
        self._thinker = ChainedThinker(tokens)
        self.synthesizer = ChainedSynthesizer(begun)
        watch = KnownToBeat if beats else Watch
        self._watches = {stage: watch(RECOVERY.silence_s) for stage in STAGES}
        self.happened: list[str] = []
        self.losses = self._calls = 0
        self.seconds = 0.0  # that the answer took

    def next_fault(self, stage: Stage) -> Fault | None:
        return self._happen(self._fault_at((stage, "message", next(self.messages[stage]))))

    def next_step(self, stage: Stage) -> Fault | None:
        return self._happen(self._fault_at((stage, "step", next(self.steps[stage]))))

    def _fault_at(self, point: Point) -> Fault | None:
        fault = self._faults.get(point)
        self.asked.append((point, fault))
        return fault

    def altered(self, stage: Stage, delta: Any) -> Any:
        """What a replica says of `delta`; one of another version says it otherwise."""
        return delta

    def _happen(self, fault: Fault | None) -> Fault | None:
        if fault is not None:
            self.happened.append(fault.kind)
        return fault

    async def heard(self, request: SpeechRequest) -> list[SpeechDelta]:
        """All that a listener gets, who is slow where a fault says so."""
        heard = []
        async with aclosing(self.spoken(request)) as deltas:
            async for delta in deltas:
                heard.append(delta)
                if (fault := self._fault_at(("listener", "step", len(heard)))) is not None:
                    await asyncio.sleep(fault.seconds)
        return heard

    def spoken(self, request: SpeechRequest) -> AsyncGenerator[SpeechDelta]:
        tries = Tries(request.tries)
        progress = SpokenProgress(request, tries)

        def call(asked: SpeechRequest) -> RemoteCall:
            return self._sent(asked, "Token2Wav", self._speak(asked), SpeechDelta())

        def ask() -> AsyncGenerator[SpeechDelta]:
            return self._watches["Token2Wav"].over(call, progress.request())

        return resumed(ask, progress, tries, self._policy())

    def _sent(
        self, asked: Any, stage: Stage, deltas: AsyncGenerator[Any], nothing: Any
    ) -> RemoteCall:
        """A call of a replica that the router chose."""
        self._calls += 1
        ROUTES.note(asked, f"replica {self._calls}")
        return Replica(stage, self).call(deltas, nothing)

    def written(self, request: ThinkerRequest) -> AsyncGenerator[ThinkerDelta]:
        return self._written(request, Tries(TRIES))

    def _policy(self) -> Policy:
        def is_lost(error: BaseException) -> bool:
            return isinstance(error, (Lost, EngineLost))

        return Policy(is_lost, self._note, RECOVERY.patience_s, chance=lambda: 0.5)

    def _note(self, error: BaseException, tries: Tries) -> None:
        self.losses += 1

    async def _speak(self, request: SpeechRequest) -> AsyncGenerator[SpeechDelta]:
        tries = Tries(request.tries)

        async def think(asked: ThinkerRequest) -> AsyncGenerator[ThinkerDelta]:
            async with aclosing(self._written(asked, tries)) as deltas:
                try:
                    async for delta in deltas:
                        yield delta
                except Exception as error:
                    if self._policy().is_lost(error):
                        raise ThinkerLost() from error
                    raise

        async with aclosing(answer_aloud(request, self.synthesizer, think)) as spoken:  # type: ignore[arg-type]
            async for delta in spoken:
                yield replace(delta, tries=tries.left) if tries.spent else delta

    def _written(self, request: ThinkerRequest, tries: Tries) -> AsyncGenerator[ThinkerDelta]:
        progress = WrittenProgress(request)

        def call(asked: ThinkerRequest) -> RemoteCall:
            return self._sent(asked, "Thinker", self._thinker.generate(asked), ThinkerDelta())

        def ask() -> AsyncGenerator[ThinkerDelta]:
            return self._watches["Thinker"].over(call, progress.request())

        return resumed(ask, progress, tries, self._policy())


class KnownToBeat(Watch):
    """Has heard of its stage before."""

    def hears_heartbeats(self) -> bool:
        return True


def is_alone(delta: Any) -> bool:
    """Whether it is a heartbeat and nothing else."""
    return delta.heartbeat is not None and delta.heartbeat.alone


def speech(parts: int = 1) -> SpeechRequest:
    def part(number: int) -> ThinkerRequest:
        return ThinkerRequest(f"part {number}", (), reply="speech", chance=1 + number)

    then = tuple(NextPart(part(number), pause_s=0.1) for number in range(1, parts))
    return SpeechRequest(part(0), then=then)


def sound(deltas: list[SpeechDelta]) -> bytes:
    return b"".join(delta.pcm for delta in deltas)


def one_run(
    faults: tuple[Fault, ...], parts: int = 1, begun: int = 0, tokens: int = 26
) -> tuple[World, list[SpeechDelta] | Exception]:
    """One answer. The schedule of its stream depends on how many were `begun` before."""
    world = World(faults, begun, tokens)
    began_s = LOOP.time()
    got: list[SpeechDelta] | Exception
    try:
        got = LOOP.run(world.heard(speech(parts)))
    except (Lost, EngineFailed) as error:
        got = error
    world.seconds = LOOP.time() - began_s
    return world, got


class Undisturbed:
    """The answer without faults: its sound by each schedule, its usage, and its messages."""

    def __init__(self, parts: int = 1, tokens: int = 26) -> None:
        self.parts, self.tokens = parts, tokens
        self.sounds: dict[int, bytes] = {}
        for begun in range(SCHEDULES):
            world, deltas = one_run((), parts, begun, tokens)
            assert isinstance(deltas, list)
            self.sounds[world.synthesizer.number % SCHEDULES] = sound(deltas)
            self.usage = deltas[-1].usage
            self.ids = tuple(id for delta in deltas for id in delta.token_ids)
            if begun == 0:
                self.messages = {stage: next(count) for stage, count in world.messages.items()}

    def run(self, faults: tuple[Fault, ...]) -> World:
        """One answer with these faults. Raises AssertionError unless it is as it must be."""
        world, got = one_run(faults, self.parts, tokens=self.tokens)
        # An answer without its last message ends in silence.
        broke = sum(kind in (*BREAKS, "gap") for kind in world.happened)
        out_of_order = any(kind in DISORDERS for kind in world.happened)
        slow_s = sum(fault.seconds for _, fault in world.asked if fault and fault.kind == "slow")
        assert world.losses <= broke, ("a loss without a fault", faults)
        most_s = slow_s + FOUND_WITHIN_S * broke + ROUNDING_S
        assert world.seconds <= most_s, ("too slow", world.seconds, faults)
        if isinstance(got, list):
            self.require_exact(world, got, faults)
        else:
            # A Token2Wav that dies at once has not said that it lost a Thinker: four are possible.
            assert broke > TRIES or out_of_order, (faults, got)
        return world

    def require_exact(self, world: World, got: list[SpeechDelta], faults: Any) -> None:
        assert sound(got) == self.sounds[world.synthesizer.number % SCHEDULES], faults
        assert got[-1].usage == self.usage, faults
        assert [delta.finish_reason for delta in got if delta.finish_reason] == ["stop"], faults
        assert tuple(id for delta in got for id in delta.token_ids) == self.ids, faults
        assert not any(map(is_alone, got)), faults


def by_chance(seed: int, expected: Undisturbed) -> tuple[Fault, ...]:
    """One to four faults of any kind, anywhere, also in what comes again; and a slow listener."""
    draw = random.Random(seed)
    faults = []
    for _ in range(draw.randint(1, 4)):
        stage = draw.choice(STAGES)
        message = draw.randrange(2 * expected.messages[stage])
        kind = draw.choice((*BREAKS, *DISORDERS, "slow"))
        seconds = draw.choice((0.3, 0.9, 1.9, 2.1, 2.6, 5.0, 12.0))
        faults.append(Fault(stage, message, kind, seconds if kind in LASTING else ZOMBIE_S))
    if draw.random() < 0.2:
        faults.append(Fault("listener", draw.randint(1, 3), "slow", draw.choice((1.0, 8.0))))
    return tuple(faults)
