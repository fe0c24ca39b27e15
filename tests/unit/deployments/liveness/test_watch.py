"""Which streams a caller gives up, and which it does not."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from deployments.errors import EngineFailed, ReplicaHangs
from deployments.liveness.routes import ROUTES
from deployments.liveness.ticks import TICK_S
from deployments.liveness.watch import Watch
from deployments.messages import Heartbeat, ThinkerDelta, ThinkerRequest
from deployments.resume import NotBegun
from tests.unit.deployments.resume.virtual_loop import Deadlock, VirtualLoop
from tests.unit.deployments.resume.world import KnownToBeat

SILENCE_S = 2.0
TEXT = ThinkerDelta("hello")
REQUEST = ThinkerRequest("r", ())


def beat(*, stuck: bool = False, alone: bool = True) -> ThinkerDelta:
    return ThinkerDelta(replica="r1", heartbeat=Heartbeat(7, 2.1 if stuck else 0.0, stuck, alone))


class Cancelled(Exception):
    """What Ray raises in the reader of a call that was cancelled."""


class Response:
    """A call of a replica that says what it is told to say, and then hangs."""

    def __init__(self, *said: Any, ends: BaseException | None = None) -> None:
        """`said`: deltas, and seconds of silence."""
        self._said = deque(said)
        self._ends = ends
        self._cancelled: asyncio.Future[None] = asyncio.Future(loop=asyncio.get_running_loop())

    def __aiter__(self) -> "Response":
        return self

    async def __anext__(self) -> ThinkerDelta:
        while self._said and isinstance(self._said[0], float):
            await asyncio.wait([self._cancelled], timeout=self._said.popleft())
        if self._cancelled.done():
            raise Cancelled
        if self._said:
            return self._said.popleft()
        if self._ends is not None:
            raise self._ends
        await self._cancelled
        raise Cancelled

    def cancel(self) -> None:
        if not self._cancelled.done():
            self._cancelled.set_result(None)


def heard(
    make: Callable[[], Response],
    pause_s: float = 0.0,
    loop: VirtualLoop | None = None,
    watch: Watch | None = None,
    request: ThinkerRequest = REQUEST,
) -> tuple[list[ThinkerDelta], BaseException | None, float]:
    """What comes of a stream whose reader pauses after each delta, how it ends, and when."""
    loop = loop or VirtualLoop()
    got: list[ThinkerDelta] = []

    async def listen() -> None:
        async with aclosing(
            (watch or Watch(SILENCE_S)).over(lambda asked: make(), request)
        ) as deltas:
            async for delta in deltas:
                got.append(delta)
                await asyncio.sleep(pause_s)

    try:
        loop.run(listen())
    except Exception as error:
        return got, error, loop.time()
    return got, None, loop.time()


END = StopAsyncIteration()


def test_a_replica_that_falls_silent_is_found_in_time() -> None:
    got, error, at_s = heard(lambda: Response(beat(alone=False), 1.0, TEXT))
    assert len(got) == 2
    assert isinstance(error, ReplicaHangs)
    assert error.replica == "r1"
    assert 3.0 - TICK_S <= at_s <= 3.0 + TICK_S


def test_a_replica_that_sends_heartbeats_is_waited_for() -> None:
    beats = [what for _ in range(100) for what in (0.75, beat())]
    got, error, _ = heard(lambda: Response(beat(alone=False), *beats, TEXT, ends=END))
    assert error is None
    assert got[-1] == TEXT


def test_one_that_never_sent_a_heartbeat_is_waited_for() -> None:
    _, error, at_s = heard(lambda: Response(TEXT, 100.0, TEXT, ends=END))
    assert error is None
    assert at_s == 100.0


def test_a_replica_whose_engine_is_stuck_is_given_up_at_once() -> None:
    _, error, at_s = heard(lambda: Response(beat(), 0.75, beat(stuck=True), ends=END))
    assert isinstance(error, ReplicaHangs)
    assert "in one step for 2.1 s" in str(error)
    assert at_s == 0.75


def test_silence_counts_only_while_somebody_reads() -> None:
    _, error, _ = heard(lambda: Response(beat(), TEXT, TEXT, ends=END), pause_s=60.0)
    assert error is None


def test_a_loop_that_was_held_up_grants_the_time() -> None:
    """What came meanwhile has not been read yet."""
    loop = VirtualLoop()

    def make() -> Response:
        loop.call_later(1.0, lambda: setattr(loop, "stalls_s", 30.0))
        return Response(beat(), 31.0, TEXT, ends=END)

    got, error, _ = heard(make, loop=loop)
    assert error is None
    assert got[-1] == TEXT


def test_an_error_of_the_replica_is_its_own() -> None:
    _, error, _ = heard(lambda: Response(beat(), ends=EngineFailed("it broke")))
    assert isinstance(error, EngineFailed)
    assert not isinstance(error, ReplicaHangs)


def test_a_reader_who_is_cancelled_is_cancelled() -> None:
    loop = VirtualLoop()

    async def cancelled() -> None:
        async with asyncio.timeout(1.0):
            async with aclosing(
                Watch(SILENCE_S).over(lambda asked: Response(beat()), REQUEST)
            ) as deltas:
                async for _ in deltas:
                    pass

    with pytest.raises(TimeoutError):
        loop.run(cancelled())


def test_a_stream_that_is_closed_ends_its_call_and_leaves_no_timer() -> None:
    loop = VirtualLoop()
    watch = Watch(SILENCE_S)

    async def close() -> Response:
        response = Response(beat(), TEXT)
        async with aclosing(watch.over(lambda asked: response, replace(REQUEST))) as deltas:
            await anext(deltas)
        await asyncio.sleep(2 * TICK_S)
        return response

    assert loop.run(close())._cancelled.done()
    assert watch._ticks._timer is None


def test_streams_are_given_up_one_by_one() -> None:
    loop = VirtualLoop()
    watch = Watch(SILENCE_S)

    async def read(response: Response) -> str:
        async with aclosing(watch.over(lambda asked: response, replace(REQUEST))) as deltas:
            try:
                async for _ in deltas:
                    pass
            except ReplicaHangs:
                return "hangs"
            return "ends"

    async def both() -> list[str]:
        beats = [what for _ in range(10) for what in (0.75, beat())]
        lively = Response(*beats, ends=END)
        return await asyncio.gather(read(Response(beat())), read(lively))

    assert loop.run(both()) == ["hangs", "ends"]


def routed(*replicas: str, request: ThinkerRequest = REQUEST) -> Callable[[], Response]:
    """A call that is sent to one replica after the other, a second each, and hears of none."""

    def send() -> Response:
        loop = asyncio.get_running_loop()
        for second, replica in enumerate(replicas):
            loop.call_later(second, ROUTES.note, request, replica)
        return Response(100.0, ends=END)

    return send


def test_a_replica_that_does_not_begin_is_found_in_time() -> None:
    _, error, at_s = heard(routed("r1"), watch=KnownToBeat(SILENCE_S))
    assert isinstance(error, NotBegun)
    assert error.replica == "r1"
    assert at_s <= SILENCE_S + TICK_S


def test_the_time_to_begin_starts_when_a_replica_gets_the_request() -> None:
    """It may wait for one that has room, and one that has none may reject it."""
    _, error, at_s = heard(routed("", "r1", "", "", "r2"), watch=KnownToBeat(SILENCE_S))
    assert isinstance(error, NotBegun)
    assert error.replica == "r2"
    assert 4.0 + SILENCE_S <= at_s <= 4.0 + SILENCE_S + TICK_S


def test_a_request_that_no_replica_has_is_waited_for() -> None:
    _, error, at_s = heard(routed(""), watch=KnownToBeat(SILENCE_S))
    assert (error, at_s) == (None, 100.0)


def test_a_replica_of_a_stage_without_heartbeats_may_begin_when_it_likes() -> None:
    _, error, _ = heard(routed("r1"))
    assert error is None


def test_a_replica_that_is_avoided_and_is_the_only_one_has_more_time() -> None:
    avoiding = replace(REQUEST, avoid=("r1",))
    sent = routed("r1", request=avoiding)
    _, error, _ = heard(sent, watch=KnownToBeat(SILENCE_S), request=avoiding)
    assert error is None


def test_no_route_is_kept_behind_an_answer() -> None:
    heard(routed("r1"), watch=KnownToBeat(SILENCE_S))
    heard(lambda: Response(beat(), ends=EngineFailed("it broke")))
    assert not ROUTES._by_request


def test_the_virtual_loop_notices_who_waits_for_ever() -> None:
    """So that no hang of these tests goes unnoticed."""
    loop = VirtualLoop()
    with pytest.raises(Deadlock):
        loop.run(asyncio.Event().wait())
