"""When a replica knows that Ray Serve stops it."""

import asyncio
from collections.abc import Iterator

import pytest

from serve_app.graph.stopping import StopWatch


def watch_of(answers: Iterator[bool | Exception], unasked_s: float = 0.0) -> StopWatch:
    def is_stopping() -> bool:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return StopWatch(is_stopping, unasked_s, look_every_s=0.001)


async def test_a_replica_that_nobody_asks_for_its_health_asks_the_controller() -> None:
    answers = iter([ConnectionError(), True, False, True, True])
    await asyncio.wait_for(watch_of(answers).stopped(), 5)
    assert next(answers, None) is None


async def test_a_replica_that_is_asked_asks_nobody() -> None:
    watch = watch_of(iter([]), unasked_s=60)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(watch.stopped(), 0.05)
