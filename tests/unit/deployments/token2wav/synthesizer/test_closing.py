"""What a synthesizer leaves behind when it is closed or cannot start."""

import asyncio

import pytest

from deployments.errors import ConfigError, EngineFailed
from deployments.token2wav.engine_threads import ThreadRunner
from tests.unit.deployments.token2wav.synthesizer.stand_in import (
    StandIn,
    recording,
    synthesizer_over,
)


async def test_a_closed_synthesizer_is_unhealthy(started):
    synthesizer, _ = started
    synthesizer.close()
    await asyncio.sleep(0.01)
    with pytest.raises(EngineFailed):
        await synthesizer.check_health()


class CountingRunner(ThreadRunner):
    """Counts the calls of `close`, which a finalizer must find done."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.closed = 0

    def close(self) -> None:
        self.closed += 1
        super().close()


async def test_a_synthesizer_that_cannot_start_has_closed_its_threads():
    runners: list[CountingRunner] = []

    def runner(name: str) -> CountingRunner:
        runners.append(CountingRunner(name))
        return runners[-1]

    synthesizer = synthesizer_over(StandIn, {"default": recording(b"broken")}, runner=runner)
    with pytest.raises(ConfigError):
        await synthesizer.start()
    assert [one.closed for one in runners] == [1, 1]


def test_a_thread_that_is_closed_twice_takes_its_lock_once():
    """A finalizer may close it again, in a collection within `submit`, which has the lock."""
    runner = ThreadRunner("test")
    runner.close()
    with runner._thread._shutdown_lock:
        runner.close()
