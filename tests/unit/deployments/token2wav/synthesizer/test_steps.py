"""Which chunks share a step, how answers are cut, and what an observer hears."""

import asyncio

import pytest

from deployments.errors import ServerFull
from deployments.token2wav.canary import TOKENS
from deployments.token2wav.observer import Unobserved
from tests.unit.deployments.token2wav.synthesizer.stand_in import (
    BUSY,
    SCHEDULE,
    StandIn,
    chunk,
    recording,
    synthesizer_over,
)


async def test_before_it_is_ready_every_size_of_chunk_has_been_spoken_once(started):
    synthesizer, engine = started
    sizes = [4 + 3, 6 + 3, 10 + 3]  # with the lookahead; the last one sees nothing more
    warm_up = [*((size, False) for size in sizes), (10 + 3 - 1, True)]
    assert engine.chunks == [*warm_up, (TOKENS, True)]  # and the canary
    assert len(engine.threads) == 1
    assert (synthesizer.open_streams, len(engine.closed)) == (0, 2)


async def test_chunks_that_arrive_during_a_step_share_the_next(started):
    synthesizer, engine = started
    streams = [await synthesizer.open(None) for _ in range(3)]
    answers = await asyncio.gather(*(s.synthesize(chunk(i)) for i, s in enumerate(streams)))
    assert answers == [b"\x00", b"\x01", b"\x02"]
    assert sum(engine.batches) == 3
    assert len(engine.batches) <= 2
    assert len(engine.threads) == 1


async def test_an_answer_is_cut_by_how_many_streams_it_begins_beside(started):
    synthesizer, _ = started
    streams = [await synthesizer.open(None) for _ in range(3)]
    assert [stream.schedule for stream in streams] == [SCHEDULE, SCHEDULE, BUSY]


async def test_a_token_outside_the_codebook_harms_nobody_else(started):
    synthesizer, engine = started
    good, bad = await synthesizer.open(None), await synthesizer.open(None)
    answers = await asyncio.gather(
        good.synthesize(chunk(7)), bad.synthesize(chunk(100)), return_exceptions=True
    )
    assert answers[0] == b"\x07"
    assert isinstance(answers[1], ValueError)
    assert engine.batches == [1]


async def test_an_observer_hears_of_streams_steps_refusals_and_voices(clock):
    class Notes(Unobserved):
        def __init__(self):
            self.steps, self.open, self.refused, self.voices = [], [], [], 0

        def step_ended(self, step):
            self.steps.append(step)

        def stream_opened(self, open_streams):
            self.open.append(open_streams)

        def stream_closed(self, open_streams):
            self.open.append(open_streams)

        def stream_refused(self, reason):
            self.refused.append(reason)

        def voice_prepared(self, took_s):
            self.voices += 1

    engine, notes = StandIn(), Notes()
    synthesizer = synthesizer_over(
        lambda: engine, {"default": recording(b"voice")}, observer=notes, now_s=clock
    )
    await synthesizer.start()
    assert (len(notes.steps), notes.open, notes.voices) == (4, [1, 0], 1)  # of the warm-up
    streams = [await synthesizer.open(None) for _ in range(3)]
    with pytest.raises(ServerFull):
        await synthesizer.open(None)
    engine.broken = {f"voice-{engine.opened}"}
    await asyncio.gather(*(one.synthesize(chunk(1, 2)) for one in streams), return_exceptions=True)
    synthesizer.close()
    assert notes.open[2:] == [1, 2, 3]
    assert notes.refused == ["memory"]
    made = notes.steps[4:]
    assert [chunk.tokens for step in made for chunk in step.chunks] == [2] * 3
    assert sum(step.broken for step in made) == 1
    assert all(step.began_s < step.ended_s and step.open_streams == 3 for step in made)
