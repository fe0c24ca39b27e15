"""Answers that lost their replica: made again at once, and nobody else goes without."""

import asyncio
from collections.abc import Callable
from itertools import islice

from deployments.chunker import AUDIO_TOKEN_S, Chunk, ChunkSchedule
from deployments.messages import SAMPLES_PER_AUDIO_TOKEN, PartSoFar, SpokenSoFar
from deployments.token2wav.admission import Admission
from deployments.token2wav.schedule import (
    FIRST_SOUND_S,
    REPLAYS_AT_MOST,
    Listener,
    next_batch,
)
from deployments.token2wav.synthesizer import BatchingSynthesizer
from tests.unit.deployments.token2wav.test_admission import NOW, experienced
from tests.unit.deployments.token2wav.test_overload import (
    CHUNKS,
    LOOKAHEAD,
    Anybody,
    Core,
    Engine,
    Heard,
    listen,
    run,
)
from tests.unit.deployments.token2wav.test_schedule import Row, playing

HEARD_S = 10.0


def replayed(name: str = "replay", waited_s: float = 0.1) -> Row:
    return Row(name, Listener(NOW - waited_s, replays=True))


def batch(rows: list[Row], max_batch: int = 32) -> list[str]:
    return [row.name for row in next_batch(rows, NOW, open_streams=100, max_batch=max_batch)]


def so_far(seconds: float = HEARD_S) -> SpokenSoFar:
    tokens = round(seconds / AUDIO_TOKEN_S)
    part = PartSoFar((), (1,) * tokens)
    return SpokenSoFar(
        ChunkSchedule(lookahead=LOOKAHEAD), (part,), tokens * SAMPLES_PER_AUDIO_TOKEN
    )


def test_a_chunk_that_is_made_again_is_due_at_once():
    assert batch([replayed()]) == ["replay"]
    assert batch([replayed(), playing("far", 20)], max_batch=1) == ["replay"]


def test_who_would_hear_a_gap_goes_before_what_is_made_again():
    for left_s in (0.1, 0.8):
        assert batch([replayed(), playing("runs out", left_s)], max_batch=1) == ["runs out"]


def test_what_waited_for_a_second_to_be_made_again_goes_first():
    rows = [playing("runs out", 0.1), replayed(waited_s=FIRST_SOUND_S)]
    assert batch(rows, max_batch=1) == ["replay"]
    rows[1].listener.replayed(NOW - 0.1, replays=True)  # it has had a turn
    assert batch(rows, max_batch=1) == ["runs out"]


def test_a_step_makes_few_chunks_again_and_has_room_for_all_listeners():
    rows = [replayed(f"replay {number}", waited_s=9.0) for number in range(40)]
    rows += [playing(f"{number}", 0.1) for number in range(16)]
    names = batch(rows)
    assert {f"{number}" for number in range(16)} <= set(names)
    assert sum(name.startswith("replay") for name in names) == REPLAYS_AT_MOST


def test_nobody_begins_while_an_answer_is_made_again():
    waits = Listener(NOW, replays=True)
    admission = experienced()
    assert not admission.fits([waits], Listener(NOW), NOW, late=False)
    assert not admission.fits([waits], Listener(NOW, priority="background"), NOW, late=False)
    waits.sent(1.0, NOW)
    assert admission.fits([waits], Listener(NOW), NOW, late=False)


def test_nobody_is_refused_where_one_answer_alone_is_too_slow():
    assert Admission(None).fits([Listener(NOW, replays=True)], Listener(NOW), NOW, late=False)


def test_the_chunks_of_an_answer_count_from_its_beginning():
    listener = Listener(NOW, ChunkSchedule(ramp=(4, 50), steady=10), replays=True)
    listener.replayed(NOW, replays=False)
    listener.sent(1.0, NOW)
    assert listener.chunks == 2
    assert listener.needs(NOW + 1.0, 0.1).speech_s == 10 * AUDIO_TOKEN_S


async def go_on(synthesizer: BatchingSynthesizer, took_s: list[float]) -> None:
    """An answer of which ten seconds were heard; notes when the first new sound comes."""
    now_s = asyncio.get_running_loop().time
    began_s = now_s()
    told = so_far()
    stream = await synthesizer.open(None, so_far=told)
    for size in islice(stream.schedule.sizes(), 30):
        await stream.synthesize(Chunk((1,) * (size + LOOKAHEAD), last=False))
        if stream._heard_bytes == 0:
            break
    took_s.append(now_s() - began_s)
    stream.close()


def beside(resumes: int, listeners: int, engine: Callable[[], Engine]) -> tuple[Heard, list[float]]:
    heard, took_s = Heard(), list[float]()

    async def serve(synthesizer: BatchingSynthesizer) -> None:
        async def later() -> None:
            await asyncio.sleep(1.5)
            await asyncio.gather(*(go_on(synthesizer, took_s) for _ in range(resumes)))

        await asyncio.gather(later(), *(listen(synthesizer, heard, 0.01) for _ in range(listeners)))

    run(engine(), Anybody, serve)
    return heard, took_s


def test_64_answers_are_made_again_in_a_second_beside_64_listeners_who_hear_no_gap():
    heard, took_s = beside(64, 64, Engine)
    assert heard.with_a_gap == 0
    assert len(took_s) == 64
    assert max(took_s) < 3.0


def test_on_a_cpu_answers_are_made_again_in_the_time_that_listeners_leave():
    heard, took_s = beside(4, 4, lambda: Core(0.1))
    assert heard.with_a_gap == 0
    assert max(took_s) < CHUNKS
