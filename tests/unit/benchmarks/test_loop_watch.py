"""What a watched event loop is said to have been held up by; no GPU needed."""

import asyncio
import socket
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
import uvloop

from tests.benchmarks.callback_clock import UNSEEN, CallbackClock, name_of
from tests.benchmarks.loop_watch import LoopReport, LoopWatch, most_of

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
every_loop = pytest.mark.parametrize("new_loop", LOOPS.values(), ids=LOOPS.keys())
NewLoop = Callable[[], asyncio.AbstractEventLoop]


def compute_for(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def watched(new_loop: NewLoop, work: Callable[[], Awaitable[None]]) -> LoopReport:
    """The report of a loop in which `work` runs."""

    async def both() -> LoopReport:
        done = asyncio.Event()
        watching = asyncio.create_task(LoopWatch().watch_while(lambda: not done.is_set()))
        await asyncio.sleep(0.05)
        await work()
        done.set()
        return await watching

    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(both())


@every_loop
def test_a_callback_that_computes_for_long_is_named(new_loop: NewLoop) -> None:
    async def work() -> None:
        asyncio.get_running_loop().call_soon(compute_for, 0.03)
        await asyncio.sleep(0.05)

    report = watched(new_loop, work)
    assert report.callbacks_computed_over_limit >= 1
    longest = max(report.longest_callbacks, key=lambda one: one.computed_s)
    assert longest.name.endswith(":compute_for")
    assert "compute_for" in longest.doing
    assert longest.computed_s >= 0.03
    assert longest.name in report.callback_culprits
    assert report.untimed_longest_s < 0.03


@every_loop
def test_a_step_of_a_task_and_a_timer_are_named_too(new_loop: NewLoop) -> None:
    async def slow_step() -> None:
        await asyncio.sleep(0)
        compute_for(0.02)

    async def work() -> None:
        asyncio.get_running_loop().call_later(0.01, compute_for, 0.02)
        await asyncio.create_task(slow_step())
        await asyncio.sleep(0.05)

    report = watched(new_loop, work)
    names = [one.name for one in report.longest_callbacks if one.computed_s >= 0.02]
    assert sum(name.endswith(":compute_for") for name in names) == 1
    assert sum("slow_step" in name for name in names) == 1


@every_loop
def test_many_short_callbacks_are_a_late_beat_and_no_long_callback(new_loop: NewLoop) -> None:
    async def work() -> None:
        for _ in range(40):
            asyncio.get_running_loop().call_soon(compute_for, 0.001)
        await asyncio.sleep(0.1)

    report = watched(new_loop, work)
    assert report.late_s is not None and report.late_s.max > 0.03
    assert report.callbacks_computed_over_limit == 0


@every_loop
def test_a_quiet_loop_has_none(new_loop: NewLoop) -> None:
    async def work() -> None:
        for _ in range(50):
            await asyncio.sleep(0.005)

    report = watched(new_loop, work)
    assert report.callbacks > 50
    assert report.callbacks_computed_over_limit == 0
    assert not [one for one in report.longest_callbacks if one.computed_s > 0.005]


@every_loop
def test_what_a_socket_s_reader_computes_shows_between_the_callbacks(new_loop: NewLoop) -> None:
    ours, theirs = socket.socketpair()

    def read() -> None:
        ours.recv(1)
        compute_for(0.03)

    async def work() -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(ours, read)
        theirs.send(b"x")
        await asyncio.sleep(0.05)
        loop.remove_reader(ours)

    with ours, theirs:
        report = watched(new_loop, work)
    assert report.untimed_longest_s >= 0.03


@every_loop
def test_the_loop_has_its_own_methods_again_afterwards(new_loop: NewLoop) -> None:
    async def both() -> int:
        loop = asyncio.get_running_loop()
        with CallbackClock(loop, 0.005) as clock:
            await asyncio.sleep(0.01)
            threading.Thread(target=loop.call_soon_threadsafe, args=(int,)).start()
            await asyncio.sleep(0.01)
        timed = len(clock.took_s)
        await asyncio.sleep(0.01)
        assert len(clock.took_s) == timed
        assert not vars(loop).keys() & {"call_soon", "call_at", "call_later"}
        return timed

    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert runner.run(both()) >= 3


def test_a_callback_without_a_name_is_shown_as_it_is() -> None:
    class Nameless:
        def __call__(self) -> None:
            pass

    assert "Nameless object" in name_of(Nameless())


def test_a_late_beat_is_named_after_what_computed_most() -> None:
    assert most_of(Counter({"first": 0.001, "most": 0.04, "last": 0.002})) == "most"
    assert most_of(Counter()) == UNSEEN
