"""Who gets a place among the streams, and how it comes back."""

import asyncio

import pytest

from deployments.errors import ServerFull
from tests.unit.deployments.token2wav.synthesizer.stand_in import begun, chunk


async def test_one_stream_too_many_is_refused_until_another_ends(started):
    synthesizer, _ = started
    streams = [await synthesizer.open(None) for _ in range(3)]
    with pytest.raises(ServerFull) as refused:
        await synthesizer.open(None)
    assert refused.value.reason == "memory"
    assert "memory" in refused.value.message
    streams[0].close()
    streams[0].close()
    assert synthesizer.open_streams == 2
    await synthesizer.open(None)


async def test_a_stream_that_no_time_is_left_for_is_refused(started, admission, clock):
    synthesizer, _ = started
    stream = await synthesizer.open(None)
    for _ in range(8):
        admission.note_step(rows=8, speech_s=8.0, took_s=8 * 0.2, now_s=clock())
    with pytest.raises(ServerFull) as refused:
        await synthesizer.open(None)
    assert refused.value.reason == "time"
    assert "time" in refused.value.message
    (await synthesizer.open(None, streamed=False)).close()  # nobody hears it while it is made
    assert synthesizer.open_streams == 1
    stream.close()
    await synthesizer.open(None)


async def test_a_stream_cancelled_in_a_step_gives_its_place_back(started):
    synthesizer, engine = started
    stream = await synthesizer.open(None)
    engine.may_end.clear()
    task = asyncio.create_task(stream.synthesize(chunk(1)))
    await begun(engine)
    task.cancel()
    stream.close()
    engine.may_end.set()
    while engine.stepping:
        await asyncio.sleep(0.001)
    assert len(engine.closed) == 3  # the warm-up's stream, the canary's and this one
    other = await synthesizer.open(None)
    assert await other.synthesize(chunk(5)) == b"\x05"


async def test_background_work_leaves_half_of_the_places_to_live_streams(started):
    synthesizer, engine = started
    engine.max_streams = 4
    for _ in range(2):
        await synthesizer.open(None, priority="background")
    with pytest.raises(ServerFull) as refused:
        await synthesizer.open(None, priority="background")
    assert refused.value.reason == "memory"
    for _ in range(2):
        await synthesizer.open(None)


async def test_streams_in_the_background_leave_a_live_one_its_small_first_chunk(started):
    synthesizer, engine = started
    engine.max_streams = 100
    alone = (await synthesizer.open(None)).schedule
    for _ in range(8):
        await synthesizer.open(None, priority="background")
    assert (await synthesizer.open(None)).schedule == alone


async def test_headroom_is_the_share_of_places_that_is_free(started):
    synthesizer, _ = started
    assert synthesizer.headroom() == 1
    stream = await synthesizer.open(None)
    assert synthesizer.headroom() == pytest.approx(2 / 3)
    stream.close()
    assert synthesizer.headroom() == 1


async def test_headroom_is_the_share_of_time_that_is_free_where_that_is_less(
    started, admission, clock
):
    synthesizer, _ = started
    await synthesizer.open(None)
    for _ in range(8):
        admission.note_step(rows=8, speech_s=8.0, took_s=8 * 0.2, now_s=clock())
    assert synthesizer.headroom() < 1 / 2
