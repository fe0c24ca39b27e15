"""The stage benchmarks over engines whose times and sounds are known."""

import time
from types import SimpleNamespace
from typing import Any

import pytest

from deployments.thinker.fake import FakeThinkerEngine
from serve_app.bench.inputs import synthetic_speech
from serve_app.bench.stages.thinker import measure_thinker
from serve_app.bench.stages.token2wav import BatchShape, load_engine, measure_engine


class TimedEngine:
    """A step takes 5 ms and a millisecond for every stream."""

    codebook_size = 100
    lookahead = 3

    def __init__(self) -> None:
        self.steps: list[tuple[int, int, bool]] = []
        self.opened = self.ended = 0

    def prepare_voice(self, data: bytes) -> Any:
        return data

    def open(self, voice: Any) -> Any:
        self.opened += 1
        return SimpleNamespace(voice=voice)

    def step(self, rows: Any) -> Any:
        time.sleep(0.005 + 0.001 * len(rows))
        self.steps.append((len(rows), len(rows[0].tokens), rows[0].last))
        self.ended += sum(row.last for row in rows)
        lookahead = 0 if rows[0].last else self.lookahead
        return [
            SimpleNamespace(pcm=bytes(2 * 960 * (len(r.tokens) - lookahead)), state=r.state)
            for r in rows
        ]


def test_steps_are_counted_without_the_warm_up_and_streams_are_ended() -> None:
    engine = TimedEngine()
    shapes = [BatchShape(1, 25), BatchShape(10, 10)]
    found = measure_engine("timed", lambda: engine, b"voice", shapes, steps=4, warm_up=2)

    one, ten = found.batches
    assert (one.shape, ten.shape) == (shapes[0], shapes[1])
    assert one.step_s.p50 >= 0.006
    assert ten.step_s.p50 >= 0.015
    assert one.audio_s_per_s == pytest.approx(1.0 / one.step_s.p50, rel=0.5)
    assert ten.audio_s_per_s == pytest.approx(10 * 0.4 / ten.step_s.p50, rel=0.5)
    assert engine.opened == engine.ended == 2 * (1 + 10)  # once for the kernels, once measured
    assert engine.steps[:2] == [(1, 28, False), (1, 25, True)]
    assert engine.steps.count((10, 13, False)) == 1 + 2 + 4


def test_an_unknown_engine_is_named(tmp_path: Any) -> None:
    with pytest.raises(ValueError, match="no engine 'fast'"):
        load_engine("fast", tmp_path, {})


async def test_thinker_figures_count_every_token_of_every_request() -> None:
    found = await measure_thinker(FakeThinkerEngine(seconds_per_delta=0.01), 3, 40)
    assert found.requests == 3
    assert found.tokens_each == 40
    assert found.audio_s == pytest.approx(3 * 40 / 25)
    assert 0.01 <= found.first_chunk_s.p50 < found.latency_s.p50
    assert found.tokens_per_s == pytest.approx(3 * 40 / found.latency_s.max)


async def test_a_thinker_that_says_nothing_aloud_is_an_error() -> None:
    class Mute(FakeThinkerEngine):
        async def generate(self, request: Any) -> Any:
            return
            yield

    with pytest.raises(ValueError, match="no audio tokens"):
        await measure_thinker(Mute(), 1, 40)


def test_synthetic_speech_follows_its_seed_and_is_not_silent() -> None:
    first, again, other = (synthetic_speech(1.0, seed) for seed in (1, 1, 2))
    assert len(first) == 16_000
    assert (first == again).all()
    assert abs(first - other).max() > 0.1
    assert abs(first).max() == pytest.approx(0.5, abs=1e-3)
