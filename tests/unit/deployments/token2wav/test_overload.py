"""More listeners than there is time for: who is let in is not starved.

In virtual time, over steps that cost what an H200's did while the Thinker shared it
(tests/benchmarks/README.md), and with tokens that come as quickly as they did then.
"""

import asyncio
import statistics
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from deployments.chunker import AUDIO_TOKEN_S, VOCODER_HOLDS_S, Chunk
from deployments.errors import ServerFull
from deployments.messages import OUTPUT_SAMPLE_RATE_HZ
from deployments.priority import Priority
from deployments.token2wav.admission import Admission
from deployments.token2wav.configured_voices import VoiceRecording
from deployments.token2wav.contract import StepInput, StepOutput
from deployments.token2wav.schedule import FILL
from deployments.token2wav.synthesizer import BatchingSynthesizer, SpokenStream
from deployments.token2wav.token2wav_config import Token2WavConfig
from tests.unit.deployments.token2wav.virtual_time import VirtualRunner, run_virtually

STEP_S = {1: 0.018, 2: 0.020, 4: 0.022, 8: 0.029, 12: 0.034, 16: 0.038, 24: 0.054, 32: 0.062}
FIRST_TOKEN_S = 0.1
TOKEN_S = 0.016  # of an audio token: 1.25 steps of the Thinker with 128 others
LOOKAHEAD = 3
MAX_BATCH = 32
CHUNKS = 9


class Engine:
    """Makes silence of the right length; `VirtualRunner` lets its steps take their time."""

    codebook_size, lookahead, max_streams = 10, LOOKAHEAD, 1000
    rows_share_a_step = True

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.took_s = 0.0  # what was done since it was asked last

    def encode_voice(self, data: bytes) -> None: ...

    def place_voice(self, encoded: None) -> Generator[None, None, None]:
        yield from ()

    def open(self, voice: None) -> int:
        return 0  # chunks so far

    def close(self, state: int) -> None: ...

    def step(self, rows: Sequence[StepInput]) -> list[StepOutput]:
        self.batches.append(len(rows))
        self.took_s += self._cost_s(rows)
        return [StepOutput(self._speak(row), row.state + 1) for row in rows]

    def _cost_s(self, rows: Sequence[StepInput]) -> float:
        return step_s(len(rows))

    def _speak(self, row: StepInput) -> bytes:
        consumed = len(row.tokens) - LOOKAHEAD
        seconds = consumed * AUDIO_TOKEN_S - (0 if row.state else VOCODER_HOLDS_S)
        return bytes(2 * round(seconds * OUTPUT_SAMPLE_RATE_HZ))


class Core(Engine):
    """A slow CPU: rows are computed one by one, in `pace` times the time that they play."""

    rows_share_a_step = False

    def __init__(self, pace: float) -> None:
        super().__init__()
        self._pace = pace

    def _cost_s(self, rows: Sequence[StepInput]) -> float:
        return sum(self._pace * AUDIO_TOKEN_S * (len(row.tokens) - LOOKAHEAD) for row in rows)


def step_s(rows: int) -> float:
    """What a step costs: as the smallest shape that holds its rows."""
    sizes = list(STEP_S)
    return STEP_S[sizes[bisect_left(sizes, rows)]]


class Anybody(Admission):
    """Refuses nobody."""

    def fits(self, *_: Any, **__: Any) -> bool:
        return True


@dataclass
class Heard:
    refused: int = 0
    with_a_gap: int = 0
    first_sound_s: list[float] = field(default_factory=list)  # of each who was let in


async def listen(synthesizer: BatchingSynthesizer, heard: Heard, after_s: float) -> None:
    """One who comes `after_s`, and plays what is sent from the first sound on."""
    now_s = asyncio.get_running_loop().time
    await asyncio.sleep(after_s)
    opened_at_s = now_s()
    try:
        stream = await synthesizer.open(None)
    except ServerFull:
        heard.refused += 1
        return
    tokens_at_s = opened_at_s + FIRST_TOKEN_S + LOOKAHEAD * TOKEN_S
    plays_until_s, gap = float("inf"), False
    for size in islice(stream.schedule.sizes(), CHUNKS):
        tokens_at_s += size * TOKEN_S
        await asyncio.sleep(max(0.0, tokens_at_s - now_s()))
        pcm = await stream.synthesize(Chunk((1,) * (size + LOOKAHEAD), last=False))
        if plays_until_s == float("inf"):
            heard.first_sound_s.append(now_s() - opened_at_s)
            plays_until_s = now_s()
        gap = gap or now_s() > plays_until_s
        plays_until_s = max(plays_until_s, now_s()) + len(pcm) / 2 / OUTPUT_SAMPLE_RATE_HZ
    stream.close()
    heard.with_a_gap += gap


def run(
    engine: Engine,
    admission: Callable[[int | None], Admission],
    serve: Callable[[BatchingSynthesizer], Awaitable[None]],
    config: Token2WavConfig = Token2WavConfig(),  # noqa: B008
) -> None:
    """`serve` in virtual time."""
    voice = VoiceRecording(Path("voice.wav"), b"", seconds=6.0)

    async def whole() -> None:
        loop = asyncio.get_running_loop()
        synthesizer = BatchingSynthesizer(
            lambda: engine,
            {"default": voice},
            config.schedule,
            max_batch=MAX_BATCH,
            cached_voices=1,
            admission=admission,
            runner=lambda name: VirtualRunner(engine),
            now_s=loop.time,
        )
        await synthesizer.start()
        await serve(synthesizer)
        synthesizer.close()

    run_virtually(whole())


def load(
    listeners: int,
    within_s: float,
    admission: Callable[[int | None], Admission] = Admission,
) -> Heard:
    """`listeners` who come in `within_s`, after 16 who taught the server what a step costs."""
    heard = Heard()

    async def serve(synthesizer: BatchingSynthesizer) -> None:
        await asyncio.gather(*(listen(synthesizer, Heard(), 0.0) for _ in range(16)))
        await asyncio.gather(
            *(listen(synthesizer, heard, within_s * i / listeners) for i in range(listeners))
        )

    run(Engine(), admission, serve)
    assert heard.refused + len(heard.first_sound_s) == listeners
    return heard


def test_128_who_come_at_one_moment_are_all_let_in_and_hear_no_gap():
    heard = load(128, 0.0)
    assert (heard.refused, heard.with_a_gap) == (0, 0)
    assert max(heard.first_sound_s) < 1.0


@pytest.mark.parametrize("listeners", [256, 512])
def test_of_more_than_fit_some_are_refused_and_the_others_hear_no_gap(listeners):
    heard = load(listeners, 0.0)
    assert 128 <= len(heard.first_sound_s) < listeners
    assert heard.with_a_gap == 0
    assert max(heard.first_sound_s) < 1.2


def test_without_admission_they_would():
    heard = load(256, 0.0, Anybody)
    assert heard.refused == 0
    assert heard.with_a_gap > 128


def test_those_who_come_one_after_another_are_let_in():
    heard = load(192, 2.0)
    assert heard.refused + heard.with_a_gap <= 10
    assert statistics.median(heard.first_sound_s) < 0.5


@pytest.mark.parametrize("within_s", [4.0, 8.0])
def test_a_calm_arrival_of_128_leaves_nobody_out(within_s):
    heard = load(128, within_s)
    assert (heard.refused, heard.with_a_gap) == (0, 0)


async def far_ahead(synthesizer: BatchingSynthesizer) -> SpokenStream:
    """A stream that has sent its listener seconds of sound."""
    stream = await synthesizer.open(None)
    await stream.synthesize(Chunk((1,) * 100, last=False))
    return stream


def test_a_step_is_held_anew_after_the_one_it_was_held_for_has_gone():
    engine = Engine()

    async def serve(synthesizer: BatchingSynthesizer) -> None:
        streams = [await far_ahead(synthesizer) for _ in range(3)]
        newcomers = [await synthesizer.open(None) for _ in range(2)]
        one = Chunk((1,) * 10, last=False)
        gone = asyncio.create_task(newcomers[0].synthesize(one))
        await asyncio.sleep(0.0005)
        gone.cancel()
        await asyncio.sleep(1.0)
        engine.batches.clear()
        first = asyncio.create_task(newcomers[1].synthesize(one))
        await asyncio.sleep(0.001)
        await asyncio.gather(first, streams[0].synthesize(one))

    run(engine, Admission, serve)
    assert engine.batches == [2]


def test_16_share_their_steps_though_half_of_them_come_a_little_later():
    engine, heard = Engine(), Heard()

    async def serve(synthesizer: BatchingSynthesizer) -> None:
        engine.batches.clear()
        await asyncio.gather(*(listen(synthesizer, heard, 0.008 * (i % 2)) for i in range(16)))

    run(engine, Admission, serve)
    assert heard.with_a_gap == 0
    assert engine.batches[-4:] == [16] * 4


def begun_one_by_one(pace: float, count: int = 8, *, every_s: float = 0.3) -> Heard:
    """Who comes to a slow CPU, one after another."""
    heard = Heard()

    async def serve(synthesizer: BatchingSynthesizer) -> None:
        await asyncio.gather(*(listen(synthesizer, heard, every_s * i) for i in range(count)))

    run(Core(pace), Admission, serve)
    return heard


@pytest.mark.parametrize("every_s", [0.0, 0.1, 0.3, 0.7])
def test_where_one_answer_alone_is_too_slow_nobody_is_refused(every_s):
    assert begun_one_by_one(1.5, every_s=every_s).refused == 0


@pytest.mark.parametrize("every_s", [0.1, 0.3])
@pytest.mark.parametrize(("pace", "at_least"), [(0.05, 13), (0.1, 6)])
def test_a_cpu_lets_in_as_many_as_it_can_speak_without_a_gap(pace, at_least, every_s):
    heard = begun_one_by_one(pace, count=24, every_s=every_s)
    assert len(heard.first_sound_s) >= at_least
    assert heard.with_a_gap == 0


@pytest.mark.parametrize("every_s", [0.0, 0.1])
@pytest.mark.parametrize("pace", [0.3, 0.5, 0.9])
def test_a_slow_cpu_lets_in_no_more_than_it_has_time_for(pace, every_s):
    heard = begun_one_by_one(pace, every_s=every_s)
    assert 1 <= len(heard.first_sound_s) <= 1 / pace


def test_answers_that_nobody_hears_yet_are_all_let_in_and_make_no_listener_wait():
    alone, beside = Heard(), Heard()

    async def unheard(synthesizer: BatchingSynthesizer) -> None:
        stream = await synthesizer.open(None, streamed=False)
        for size in islice(stream.schedule.sizes(), CHUNKS):
            await stream.synthesize(Chunk((1,) * (size + LOOKAHEAD), last=False))
        stream.close()

    def serve_beside(count: int, heard: Heard) -> Callable[[BatchingSynthesizer], Awaitable[None]]:
        async def serve(synthesizer: BatchingSynthesizer) -> None:
            await asyncio.gather(
                *(unheard(synthesizer) for _ in range(count)),
                *(listen(synthesizer, heard, 0.05 * i) for i in range(16)),
            )

        return serve

    run(Engine(), Admission, serve_beside(0, alone))
    run(Engine(), Admission, serve_beside(200, beside))
    assert (beside.refused, beside.with_a_gap) == (0, 0)
    assert max(beside.first_sound_s) < max(alone.first_sound_s) + 0.2  # three full steps


@pytest.mark.parametrize("engine", [Engine, lambda: Core(0.05)], ids=["gpu", "cpu"])
def test_answers_in_the_background_fill_the_time_that_listeners_leave(engine):
    alone, beside, made = Heard(), Heard(), 0

    async def work(synthesizer: BatchingSynthesizer) -> None:
        nonlocal made
        while True:
            stream = await synthesizer.open(None, priority="background")
            for size in islice(stream.schedule.sizes(), CHUNKS):
                await stream.synthesize(Chunk((1,) * (size + LOOKAHEAD), last=False))
                made += 1
            stream.close()

    def serve_beside(
        workers: int, heard: Heard
    ) -> Callable[[BatchingSynthesizer], Awaitable[None]]:
        async def serve(synthesizer: BatchingSynthesizer) -> None:
            working = [asyncio.ensure_future(work(synthesizer)) for _ in range(workers)]
            await asyncio.gather(*(listen(synthesizer, heard, 0.4 * i) for i in range(8)))
            for task in working:
                task.cancel()
            await asyncio.gather(*working, return_exceptions=True)

        return serve

    run(engine(), Anybody, serve_beside(0, alone))
    run(engine(), Anybody, serve_beside(32, beside))
    assert (alone.with_a_gap, beside.with_a_gap) == (0, 0)
    assert max(beside.first_sound_s) < max(alone.first_sound_s) + step_s(FILL)
    assert made > 8 * CHUNKS  # more than the listeners were given


@pytest.mark.parametrize("workers", [4, 32])
def test_work_in_the_background_that_has_the_engine_alone_is_nearly_as_quick_as_live_answers(
    workers: int,
) -> None:
    def took_s(priority: Priority) -> float:
        ended_at_s = 0.0

        async def work(synthesizer: BatchingSynthesizer, begin_s: float) -> None:
            now_s = asyncio.get_running_loop().time
            await asyncio.sleep(begin_s)
            for _ in range(3):
                tokens_at_s = now_s() + FIRST_TOKEN_S + LOOKAHEAD * TOKEN_S
                stream = await synthesizer.open(None, priority=priority)
                for size in islice(stream.schedule.sizes(), CHUNKS):
                    tokens_at_s += size * TOKEN_S
                    await asyncio.sleep(max(0.0, tokens_at_s - now_s()))
                    await stream.synthesize(Chunk((1,) * (size + LOOKAHEAD), last=False))
                stream.close()

        async def serve(synthesizer: BatchingSynthesizer) -> None:
            nonlocal ended_at_s
            await asyncio.gather(*(work(synthesizer, 0.37 * i % 2) for i in range(workers)))
            ended_at_s = asyncio.get_running_loop().time()

        run(Engine(), Anybody, serve)
        return ended_at_s

    assert took_s("background") < took_s("live") / 0.95
