"""When steps start and streams are refused, in virtual time: every wait is exact."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from deployments.errors import ServerFull
from deployments.token2wav.schedule import HELD_AT_MOST_S, QUIET_S
from deployments.token2wav.synthesizer import BatchingSynthesizer
from tests.unit.deployments.token2wav.synthesizer.stand_in import (
    STEP_S,
    StandIn,
    chunk,
    recording,
    synthesizer_over,
)
from tests.unit.deployments.token2wav.virtual_time import VirtualRunner, run_virtually

HELD_UP_S = 0.5  # a step of that length makes listeners wait
PLAYED_S = 0.1  # what 4800 bytes of PCM play for


class VirtualStandIn(StandIn):
    """Its steps take virtual seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.step_s = STEP_S
        self.took_s = 0.0

    def compute(self) -> None:
        self.took_s += self.step_s


def run(serve: Callable[[BatchingSynthesizer, VirtualStandIn], Awaitable[None]]) -> None:
    """`serve` in virtual time."""

    async def whole() -> None:
        engine = VirtualStandIn()
        synthesizer = synthesizer_over(
            lambda: engine,
            {"default": recording(b"voice")},
            runner=lambda name: VirtualRunner(engine),
            now_s=asyncio.get_running_loop().time,
        )
        await synthesizer.start()
        engine.batches.clear()
        await serve(synthesizer, engine)
        synthesizer.close()

    run_virtually(whole())


@pytest.mark.parametrize(
    ("later_s", "batches"),
    [
        pytest.param(0.0, [2], id="at once"),
        pytest.param(0.9 * QUIET_S, [2], id="within QUIET_S"),
        pytest.param(1.1 * HELD_AT_MOST_S, [1, 1], id="after HELD_AT_MOST_S"),
    ],
)
def test_chunks_that_come_in_one_after_another_share_a_step(later_s, batches):
    async def serve(synthesizer: BatchingSynthesizer, engine: VirtualStandIn) -> None:
        streams = [await synthesizer.open(None) for _ in range(3)]
        first = asyncio.create_task(streams[0].synthesize(chunk(1)))
        await asyncio.sleep(later_s)
        second = asyncio.create_task(streams[1].synthesize(chunk(2)))
        await asyncio.gather(first, second)
        assert engine.batches == batches

    run(serve)


async def held_up(synthesizer: BatchingSynthesizer, engine: VirtualStandIn) -> asyncio.Task[bytes]:
    """A step of another stream that has begun and takes long."""
    blocker = await synthesizer.open(None)
    engine.step_s = HELD_UP_S
    in_step = asyncio.create_task(blocker.synthesize(chunk(2)))
    await asyncio.sleep(2 * HELD_AT_MOST_S)
    engine.step_s = STEP_S
    assert not in_step.done()
    return in_step


def test_a_stream_is_refused_while_somebody_hears_a_gap():
    async def serve(synthesizer: BatchingSynthesizer, engine: VirtualStandIn) -> None:
        stream = await synthesizer.open(None)
        await stream.synthesize(chunk(*[1] * 4800))
        in_step = await held_up(synthesizer, engine)
        kept_waiting = asyncio.create_task(stream.synthesize(chunk(1)))
        await asyncio.sleep(1.5 * PLAYED_S)
        with pytest.raises(ServerFull) as refused:
            await synthesizer.open(None)
        assert refused.value.reason == "time"
        await asyncio.gather(kept_waiting, in_step)
        await synthesizer.open(None)

    run(serve)


def test_a_stream_that_is_late_for_want_of_tokens_refuses_nobody():
    async def serve(synthesizer: BatchingSynthesizer, engine: VirtualStandIn) -> None:
        stream = await synthesizer.open(None)
        await stream.synthesize(chunk(1))
        await asyncio.sleep(0.01)  # all that was sent has been played
        in_step = await held_up(synthesizer, engine)
        late = asyncio.create_task(stream.synthesize(chunk(1)))
        await asyncio.sleep(0.01)
        await synthesizer.open(None)
        await asyncio.gather(late, in_step)

    run(serve)
