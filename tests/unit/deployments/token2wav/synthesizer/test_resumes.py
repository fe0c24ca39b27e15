"""Answers that lost their replica go before those that begin."""

import pytest

from deployments.chunker import ChunkSchedule
from deployments.errors import ServerFull
from deployments.messages import PartSoFar, SpokenSoFar
from deployments.token2wav.stream_slots import KEPT_S
from tests.unit.deployments.token2wav.synthesizer.stand_in import chunk

HEARD = SpokenSoFar(ChunkSchedule(lookahead=3), (PartSoFar((), (1, 2, 3, 4)),), samples=2)


async def test_while_an_answer_waits_for_a_place_no_other_stream_gets_one(started, clock):
    synthesizer, _ = started
    streams = [await synthesizer.open(None) for _ in range(3)]
    with pytest.raises(ServerFull):
        await synthesizer.open(None, so_far=HEARD)
    streams[0].close()
    with pytest.raises(ServerFull) as refused:
        await synthesizer.open(None)
    assert refused.value.reason == "memory"
    (await synthesizer.open(None, so_far=HEARD)).close()
    clock.ahead_s += KEPT_S
    await synthesizer.open(None)


async def test_a_newcomer_that_finds_no_place_keeps_none(started):
    synthesizer, _ = started
    streams = [await synthesizer.open(None) for _ in range(3)]
    with pytest.raises(ServerFull):
        await synthesizer.open(None)
    streams[0].close()
    await synthesizer.open(None)


async def test_nobody_begins_until_an_answer_has_been_made_again(started, clock, admission):
    synthesizer, _ = started
    for _ in range(8):
        admission.note_step(rows=8, speech_s=8.0, took_s=0.008, now_s=clock())
    stream = await synthesizer.open(None, so_far=HEARD)
    for tokens in ((1, 2), (3, 4)):
        with pytest.raises(ServerFull) as refused:
            await synthesizer.open(None)
        assert refused.value.reason == "time"
        await stream.synthesize(chunk(*tokens))
    await synthesizer.open(None)
