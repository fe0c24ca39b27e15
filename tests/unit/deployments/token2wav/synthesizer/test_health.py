"""Failed steps, sound that is not finite, and the canary."""

import asyncio

import pytest

from deployments.errors import EngineFailed
from deployments.liveness.heartbeats import require_health
from deployments.token2wav.canary import INTERVAL_S, TOKENS
from tests.unit.deployments.token2wav.synthesizer.stand_in import begun, chunk


async def test_a_failed_step_is_an_error_for_its_streams_and_the_next_step_runs(started):
    synthesizer, engine = started
    stream = await synthesizer.open(None)
    engine.fails = True
    with pytest.raises(EngineFailed):
        await stream.synthesize(chunk(1))
    engine.fails = False
    again = await synthesizer.open(None)
    assert await again.synthesize(chunk(2)) == b"\x02"
    await synthesizer.check_health()


async def test_an_engine_whose_every_step_fails_is_unhealthy(started):
    synthesizer, engine = started
    engine.fails = True
    for _ in range(3):
        await synthesizer.check_health()
        stream = await synthesizer.open(None)
        with pytest.raises(EngineFailed):
            await stream.synthesize(chunk(1))
        stream.close()
    with pytest.raises(EngineFailed):
        await synthesizer.check_health()


async def test_a_stream_that_turns_non_finite_fails_alone(started):
    synthesizer, engine = started
    streams = [await synthesizer.open(None) for _ in range(3)]
    engine.broken = {f"default-{engine.opened}"}  # the last one
    answers = await asyncio.gather(
        *(stream.synthesize(chunk(5)) for stream in streams), return_exceptions=True
    )
    assert answers[:2] == [b"\x05", b"\x05"]
    assert isinstance(answers[2], EngineFailed)
    await synthesizer.check_health()


async def test_an_engine_that_makes_no_finite_stream_is_unhealthy(started):
    synthesizer, engine = started
    for _ in range(3):
        await synthesizer.check_health()
        stream = await synthesizer.open(None)
        engine.broken = {f"default-{engine.opened}"}
        with pytest.raises(EngineFailed):
            await stream.synthesize(chunk(1))
        stream.close()
    with pytest.raises(EngineFailed, match="not finite"):
        await synthesizer.check_health()


async def test_streams_that_turn_non_finite_between_good_ones_leave_the_engine_healthy(started):
    synthesizer, engine = started
    for turn in range(6):
        stream = await synthesizer.open(None)
        engine.broken = {f"default-{engine.opened}"} if turn % 2 else set()
        await asyncio.gather(stream.synthesize(chunk(1)), return_exceptions=True)
        stream.close()
    await synthesizer.check_health()


async def test_an_idle_engine_that_answers_otherwise_than_at_start_is_unhealthy(started, clock):
    synthesizer, engine = started
    await synthesizer.check_health()
    engine.off_by = 90
    clock.ahead_s += INTERVAL_S + 1
    with pytest.raises(EngineFailed, match="another sound"):
        await synthesizer.check_health()
    engine.off_by = 0
    clock.ahead_s += INTERVAL_S + 1
    with pytest.raises(EngineFailed, match="another sound"):  # it is not trusted again
        await synthesizer.check_health()


async def test_an_idle_engine_whose_answer_is_not_finite_is_unhealthy(started, clock):
    synthesizer, engine = started
    engine.broken = {f"default-{engine.opened + 1}"}
    clock.ahead_s += INTERVAL_S + 1
    with pytest.raises(EngineFailed, match="finite"):
        await synthesizer.check_health()


async def test_the_canary_is_heard_at_most_every_few_seconds(started, clock):
    synthesizer, engine = started
    engine.chunks.clear()
    for _ in range(5):
        await synthesizer.check_health()
    assert engine.chunks == []
    for _ in range(2):
        clock.ahead_s += INTERVAL_S + 1
        await synthesizer.check_health()
    assert engine.chunks == [(TOKENS, True)] * 2


async def test_the_canary_is_silent_while_a_listener_needs_the_engine(started, clock):
    synthesizer, engine = started
    stream = await synthesizer.open(None)  # it has no sound yet
    clock.ahead_s += INTERVAL_S + 1
    engine.chunks.clear()
    await synthesizer.check_health()
    assert engine.chunks == []
    await stream.synthesize(chunk(*[1] * 48_000))  # 1 s of sound: now it is far ahead
    await synthesizer.check_health()
    assert engine.chunks[-1] == (TOKENS, True)
    stream.close()


async def test_steps_are_counted_and_an_idle_engine_is_in_none(started):
    synthesizer, _ = started
    before = synthesizer.steps()
    stream = await synthesizer.open(None)
    await stream.synthesize(chunk(1))
    after = synthesizer.steps()
    assert after.made > before.made
    assert before.under_way_s == after.under_way_s == 0.0
    stream.close()


async def test_an_engine_that_is_stuck_in_a_step_is_unhealthy_until_it_goes_on(started, clock):
    synthesizer, engine = started
    stream = await synthesizer.open(None)
    engine.may_end.clear()
    speaking = asyncio.ensure_future(stream.synthesize(chunk(1)))
    await begun(engine)
    clock.ahead_s += 3.0
    speaking.cancel()  # its caller goes elsewhere; the step is as stuck as before
    assert synthesizer.steps().under_way_s >= 3.0
    with pytest.raises(EngineFailed, match="in one step"):
        await require_health(synthesizer, stuck_s=2.0)
    engine.may_end.set()
    again = await synthesizer.open(None)
    assert await again.synthesize(chunk(2)) == b"\x02"
    await require_health(synthesizer, stuck_s=2.0)


async def test_a_canary_that_is_stuck_is_a_failed_health_check(started, clock):
    synthesizer, engine = started
    clock.ahead_s += INTERVAL_S + 1
    engine.may_end.clear()
    with pytest.raises(EngineFailed, match="did not answer"):
        await require_health(synthesizer, stuck_s=0.1)
    engine.may_end.set()
