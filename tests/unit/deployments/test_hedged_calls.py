"""A call that answers once is made again where its replica hangs or dies."""

import asyncio

import pytest

from deployments.errors import EngineLost
from deployments.hedged_calls import hedged

AFTER_S = 0.02


class Lost(Exception):
    pass


class Replicas:
    """The n-th call gets the n-th of these: an answer, an error, or `...` for none at all."""

    def __init__(self, *answers: object) -> None:
        self._answers = list(answers)
        self.calls = self.under_way = self.most_under_way = 0

    async def __call__(self) -> object:
        answer = self._answers[self.calls]
        self.calls += 1
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            if answer is ...:
                await asyncio.Event().wait()
            if isinstance(answer, BaseException):
                raise answer
            return answer
        finally:
            self.under_way -= 1

    async def ask(self, calls: int = 3) -> object:
        lost = (Lost, EngineLost)
        async with asyncio.timeout(5):
            return await hedged(self, lambda error: isinstance(error, lost), AFTER_S, calls)


async def test_an_answer_in_time_is_asked_for_once() -> None:
    replicas = Replicas("voices")
    assert await replicas.ask() == "voices"
    assert replicas.calls == 1


async def test_another_replica_answers_where_one_hangs() -> None:
    replicas = Replicas(..., "voices")
    assert await replicas.ask() == "voices"
    assert (replicas.calls, replicas.under_way) == (2, 0)
    assert replicas.most_under_way == 2  # so a router knew that the first was busy


async def test_one_that_is_lost_is_asked_again_at_once() -> None:
    replicas = Replicas(Lost(), Lost(), "voices")
    async with asyncio.timeout(AFTER_S):
        assert await replicas.ask() == "voices"


async def test_a_replica_that_is_stopped_is_lost() -> None:
    replicas = Replicas(asyncio.CancelledError(), "voices")
    assert await replicas.ask() == "voices"


async def test_what_the_call_is_at_fault_for_is_raised_at_once() -> None:
    replicas = Replicas(ValueError("too short"), "never")
    with pytest.raises(ValueError, match="too short"):
        await replicas.ask()
    assert replicas.calls == 1


async def test_the_last_loss_is_raised() -> None:
    replicas = Replicas(Lost("first"), Lost("second"), Lost("third"))
    with pytest.raises(Lost, match="third"):
        await replicas.ask()


async def test_the_last_call_is_waited_for() -> None:
    late = asyncio.Event()

    async def call() -> str:
        await late.wait()
        return "late"

    asyncio.get_running_loop().call_later(10 * AFTER_S, late.set)
    assert await hedged(call, lambda error: False, AFTER_S, calls=2) == "late"


async def test_whoever_stops_waiting_leaves_no_call_behind() -> None:
    replicas = Replicas(..., ...)
    asking = asyncio.ensure_future(replicas.ask(calls=2))
    while replicas.calls < 2:
        await asyncio.sleep(AFTER_S)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert replicas.under_way == 0
