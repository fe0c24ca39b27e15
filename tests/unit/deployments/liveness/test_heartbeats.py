"""What a stage sends while it has nothing to say, and when its health check fails."""

import asyncio
import itertools
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest

from deployments.errors import EngineFailed
from deployments.liveness.heartbeats import BEAT_AFTER_S, Heartbeats, require_health
from deployments.liveness.ticks import TICK_S
from deployments.messages import Heartbeat, ThinkerDelta
from deployments.stages import Steps
from tests.unit.deployments.resume.virtual_loop import VirtualLoop

HELLO, BYE = ThinkerDelta("hello"), ThinkerDelta("bye", finish_reason="stop")
SILENCE_S, STUCK_S = 3.0, 2.0


@pytest.fixture
def loop() -> VirtualLoop:
    return VirtualLoop()


class Engine:
    """Says what it is told to say."""

    def __init__(self, *said: Any) -> None:
        """`said`: deltas, seconds of silence, and errors."""
        self._said = said
        self.now = Steps(7)
        self.closed = False

    def steps(self) -> Steps:
        return self.now

    async def check_health(self) -> None:
        await anext(self.generate(), None)

    async def generate(self) -> AsyncGenerator[ThinkerDelta]:
        try:
            for what in self._said:
                if isinstance(what, BaseException):
                    raise what
                if isinstance(what, float):
                    await asyncio.sleep(what)
                else:
                    yield what
        finally:
            self.closed = True

    def answer(self) -> AsyncGenerator[ThinkerDelta]:
        return Heartbeats(self.steps, STUCK_S).among(self.generate(), ThinkerDelta())


async def timed(deltas: AsyncGenerator[ThinkerDelta]) -> list[tuple[float, ThinkerDelta]]:
    time = asyncio.get_running_loop().time
    async with aclosing(deltas):
        return [(time(), delta) async for delta in deltas]


def text(got: list[tuple[float, ThinkerDelta]]) -> str:
    return "".join(delta.text for _, delta in got)


def alone(got: list[tuple[float, ThinkerDelta]]) -> list[float]:
    """When heartbeats came that came alone."""
    return [at_s for at_s, delta in got if delta.heartbeat and delta.heartbeat.alone]


def test_the_first_delta_has_a_heartbeat_and_the_others_have_none(loop: VirtualLoop) -> None:
    got = loop.run(timed(Engine(HELLO, HELLO, BYE).answer()))
    assert text(got) == "hellohellobye"
    first, *others = (delta.heartbeat for _, delta in got)
    assert first == Heartbeat(7, 0.0, stuck=False, alone=False)
    assert others == [None, None]


def test_silence_has_heartbeats_and_what_is_said_comes_when_it_is_said(loop: VirtualLoop) -> None:
    got = loop.run(timed(Engine(HELLO, SILENCE_S, BYE).answer()))
    at_s = [0.0, *alone(got), SILENCE_S]
    apart = [later - sooner for sooner, later in itertools.pairwise(at_s)]
    assert len(apart) >= 4
    assert max(apart) <= BEAT_AFTER_S + TICK_S
    assert min(apart[:-1]) >= BEAT_AFTER_S
    assert got[-1] == (SILENCE_S, BYE)


def test_a_stage_that_speaks_often_enough_sends_no_heartbeats(loop: VirtualLoop) -> None:
    said = [what for _ in range(20) for what in (BEAT_AFTER_S - 0.01, HELLO)]
    assert not alone(loop.run(timed(Engine(*said).answer())))


def test_a_heartbeat_says_how_long_the_engine_has_been_in_its_step(loop: VirtualLoop) -> None:
    engine = Engine(2.0, BYE)
    for step_s, stuck in ((1.9, False), (2.1, True)):
        engine.now = Steps(3, step_s)
        (_, first), *_ = loop.run(timed(engine.answer()))
        heartbeat = Heartbeat(3, step_s, stuck=stuck, alone=True)
        assert first == ThinkerDelta(heartbeat=heartbeat)


def test_a_loop_that_was_held_up_does_not_say_that_the_engine_is_stuck(loop: VirtualLoop) -> None:
    """Steps that its engine made meanwhile are not counted yet."""
    engine = Engine(1.0, BYE)
    engine.now = Steps(3, 5.0)

    async def held_up() -> Any:
        loop.stalls_s = 5.0
        return await timed(engine.answer())

    heartbeats = [delta.heartbeat for _, delta in loop.run(held_up()) if delta.heartbeat]
    assert not heartbeats[0].stuck


def test_an_error_comes_after_what_was_said_before_it(loop: VirtualLoop) -> None:
    for error in (EngineFailed("it broke"), asyncio.CancelledError()):
        heard = []

        async def listen(error: BaseException = error, heard: list[str] = heard) -> None:
            async for delta in Engine(HELLO, error).answer():
                heard.append(delta.text)

        with pytest.raises(type(error)):
            loop.run(listen())
        assert heard == ["hello"]


@pytest.mark.parametrize("reads", [0, 1])
def test_closing_it_closes_the_answer(loop: VirtualLoop, reads: int) -> None:
    engine = Engine(HELLO, 100.0, BYE)

    async def listen() -> None:
        async with aclosing(engine.answer()) as deltas:
            for _ in range(1 + reads):
                await anext(deltas)

    loop.run(listen())
    assert engine.closed


def test_no_timer_is_left_behind(loop: VirtualLoop) -> None:
    engine = Engine(HELLO, 1.0, BYE)
    heartbeats = Heartbeats(engine.steps, STUCK_S)

    async def listen() -> None:
        await timed(heartbeats.among(engine.generate(), ThinkerDelta()))
        await asyncio.sleep(2 * TICK_S)

    loop.run(listen())
    assert heartbeats._ticks._timer is None


def test_an_engine_is_unhealthy_while_it_is_stuck_in_a_step(loop: VirtualLoop) -> None:
    engine = Engine()
    engine.now = Steps(3, 1.9)
    loop.run(require_health(engine, stuck_s=2.0))
    engine.now = Steps(3, 2.1)
    with pytest.raises(EngineFailed, match=r"in one step for 2\.1 s"):
        loop.run(require_health(engine, stuck_s=2.0))


def test_an_engine_that_does_not_answer_its_health_check_is_unhealthy(loop: VirtualLoop) -> None:
    with pytest.raises(EngineFailed, match="did not answer within 2 s"):
        loop.run(require_health(Engine(10.0), stuck_s=2.0))
    with pytest.raises(EngineFailed, match="it broke"):
        loop.run(require_health(Engine(EngineFailed("it broke")), stuck_s=2.0))
