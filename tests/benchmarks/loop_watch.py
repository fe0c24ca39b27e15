"""What holds an event loop up: for a while, on request, in a replica that is measured.

`watched` gives a deployment a method more, `watch_loop`; the graph that serves knows nothing of
it. While it runs, two things are asked of the loop, be it asyncio's or uvloop's:

- How late is it? It beats every `BEAT_S`. A late beat is the sum of all that came before it.
- Does any single callback take long? `CallbackClock` times each one.

A second thread looks at what the loop's thread does whenever a beat is late or a callback runs
long, so that both get a name, be it Python, the collector or a call into C. A late beat gets the
name of what computed most meanwhile, by the processor time of the loop's thread. Where that thread
computed little, nothing in it was slow: it waited for a processor or for the GIL.
"""

import asyncio
import gc
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from types import FrameType
from typing import Any

from serve_app.bench.measures import Percentiles, percentiles
from tests.benchmarks.callback_clock import UNSEEN, CallbackClock, LongCallback

BEAT_S = 0.002
LOOK_AFTER_S = 0.002  # a beat that is later than this: what runs is noted
LIMIT_S = 0.005  # a beat that is later than this counts
LONGEST = 12
OURS = ("deployments", "serve_app")
FRAMES = 4  # of a name, the innermost ones


@dataclass(frozen=True, slots=True)
class Hold:
    """Something that let no beat through."""

    late_s: float
    computed_s: float  # the processor's time that the loop's thread had meanwhile
    doing: str


@dataclass(slots=True)
class Culprit:
    times: int = 0
    longest_s: float = 0.0


@dataclass(slots=True)
class LoopReport:
    """Of one event loop. Times are seconds."""

    watched_s: float
    loop: str  # its class
    beats: int
    late_s: Percentiles | None  # how late beats were
    over_limit: int  # beats later than `LIMIT_S`
    computed_over_limit: int  # of those, where the loop's thread computed for so long
    longest: list[Hold] = field(default_factory=list)
    culprits: dict[str, Culprit] = field(default_factory=dict)  # of those, by what ran
    collections: dict[int, Culprit] = field(default_factory=dict)  # by generation
    callbacks: int = 0  # that were timed
    callback_s: Percentiles | None = None
    untimed_longest_s: float = 0.0  # computed between two of them, in the loop's own I/O
    callbacks_over_limit: int = 0  # longer than `LIMIT_S` by the clock
    callbacks_computed_over_limit: int = 0  # of those, which computed for so long
    longest_callbacks: list[LongCallback] = field(default_factory=list)
    callback_culprits: dict[str, Culprit] = field(default_factory=dict)  # all over, by name


class LoopWatch:
    """Watches the loop that `watch` runs in."""

    def __init__(self) -> None:
        self._due_s = 0.0
        self._computed_s: Counter[str] = Counter()  # since the last beat, by what ran
        self._clock: CallbackClock | None = None
        self._stop = threading.Event()
        self._thread_id = 0
        self._collecting_since_s = 0.0
        self._collections: dict[int, Culprit] = defaultdict(Culprit)

    async def watch(self, seconds: float) -> LoopReport:
        ends_s = time.perf_counter() + seconds
        return await self.watch_while(lambda: time.perf_counter() < ends_s)

    async def watch_while(self, goes_on: Callable[[], bool]) -> LoopReport:
        """`goes_on` is asked before every beat."""
        loop = asyncio.get_running_loop()
        self._thread_id = threading.get_ident()
        self._clock = clock = CallbackClock(loop, LIMIT_S)
        self._due_s = time.perf_counter() + BEAT_S
        looker = threading.Thread(target=self._look, name="loop-watch", daemon=True)
        gc.callbacks.append(self._note_collection)
        looker.start()
        began_s = time.perf_counter()
        computed_s = time.thread_time()
        late: list[float] = []
        holds: list[Hold] = []
        try:
            with clock:
                while goes_on():
                    await asyncio.sleep(max(0.0, self._due_s - time.perf_counter()))
                    now_s = time.perf_counter()
                    late.append(now_s - self._due_s)
                    before_s, computed_s = computed_s, time.thread_time()
                    if late[-1] > LIMIT_S:
                        doing = most_of(self._computed_s)
                        holds.append(Hold(late[-1], computed_s - before_s, doing))
                    self._computed_s, self._due_s = Counter(), now_s + BEAT_S
        finally:
            self._stop.set()
            gc.callbacks.remove(self._note_collection)
        return LoopReport(
            watched_s=time.perf_counter() - began_s,
            loop=f"{type(loop).__module__}.{type(loop).__qualname__}",
            beats=len(late),
            late_s=percentiles(late),
            over_limit=len(holds),
            computed_over_limit=sum(hold.computed_s > LIMIT_S for hold in holds),
            longest=sorted(holds, key=lambda hold: -hold.late_s)[:LONGEST],
            culprits=_culprits((hold.doing, hold.late_s) for hold in holds),
            collections=dict(self._collections),
            callbacks=len(clock.took_s),
            callback_s=percentiles(clock.took_s),
            untimed_longest_s=clock.untimed_longest_s,
            callbacks_over_limit=len(clock.long),
            callbacks_computed_over_limit=sum(one.computed_s > LIMIT_S for one in clock.long),
            longest_callbacks=sorted(clock.long, key=lambda one: -one.took_s)[:LONGEST],
            callback_culprits=_culprits((one.name, one.took_s) for one in clock.long),
        )

    def _look(self) -> None:
        assert self._clock is not None
        processor = time.pthread_getcpuclockid(self._thread_id)
        looked_s = time.clock_gettime(processor)
        while not self._stop.wait(0.001):
            now_s = time.perf_counter()
            before_s, looked_s = looked_s, time.clock_gettime(processor)
            since_s = self._clock.running_since_s
            late = now_s - self._due_s > LOOK_AFTER_S
            long = since_s is not None and now_s - since_s > LOOK_AFTER_S
            if not (late or long):
                continue
            frame = sys._current_frames().get(self._thread_id)
            doing = _name(frame) if frame else "no frame"
            if late:
                self._computed_s[doing] += looked_s - before_s
            if long and self._clock.running_since_s == since_s:  # it still is that one
                self._clock.doing = doing

    def _note_collection(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._collecting_since_s = time.perf_counter()
        else:
            took_s = time.perf_counter() - self._collecting_since_s
            _count(self._collections[info["generation"]], took_s)


def watched(deployment: Any) -> Any:
    """A Ray Serve deployment with the method `watch_loop(seconds)`, which gives a `LoopReport`."""
    base = deployment.func_or_class

    class Watched(base):  # type: ignore[misc,valid-type]
        async def watch_loop(self, seconds: float) -> dict[str, Any]:
            return asdict(await LoopWatch().watch(seconds))

    Watched.__name__ = Watched.__qualname__ = base.__name__
    return deployment.options(func_or_class=Watched)


def most_of(computed_s: Counter[str]) -> str:
    """The name of what computed most."""
    return max(computed_s, key=computed_s.__getitem__, default=UNSEEN)


def _culprits(held: Iterable[tuple[str, float]]) -> dict[str, Culprit]:
    culprits: dict[str, Culprit] = defaultdict(Culprit)
    for name, took_s in held:
        _count(culprits[name], took_s)
    return dict(culprits)


def _count(culprit: Culprit, took_s: float) -> None:
    culprit.times += 1
    culprit.longest_s = max(culprit.longest_s, took_s)


def _name(innermost: FrameType) -> str:
    """`module:function`s, the caller last; as far as our own code, if it is in there."""
    frames: list[str] = []
    frame: FrameType | None = innermost
    while frame is not None:
        module = frame.f_globals.get("__name__", "?")
        ours = module.partition(".")[0] in OURS
        if len(frames) < FRAMES or ours:
            frames.append(f"{module}:{frame.f_code.co_name}")
        if ours:
            break
        frame = frame.f_back
    return " ← ".join(frames)
