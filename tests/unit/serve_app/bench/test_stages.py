"""The stage benchmarks over engines whose times and sounds are known."""

import sys
import time
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from deployments.errors import ConfigError
from deployments.thinker.fake import FakeThinkerEngine
from deployments.token2wav.functional import FlowConfig
from deployments.token2wav.functional.functional_engine import FunctionalEngine
from deployments.token2wav.token2wav_config import Token2WavConfig
from serve_app.bench.inputs import synthetic_speech
from serve_app.bench.stages.thinker import measure_thinker
from serve_app.bench.stages.token2wav import BatchShape, engine_loader, measure_engine


class TimedEngine:
    """A step takes 5 ms and a millisecond for every stream."""

    codebook_size = 100
    lookahead = 3
    max_streams = 16

    def __init__(self) -> None:
        self.steps: list[tuple[int, int, bool]] = []
        self.opened = self.ended = self.closed = 0

    def encode_voice(self, data: bytes) -> Any:
        return data

    def place_voice(self, encoded: Any) -> Any:
        yield
        return encoded

    def open(self, voice: Any) -> Any:
        self.opened += 1
        return SimpleNamespace(voice=voice)

    def close(self, state: Any) -> None:
        self.closed += 1

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

    assert (found.engine, found.engine_class) == ("timed", "TimedEngine")
    one, ten = found.batches
    assert (one.shape, ten.shape) == (shapes[0], shapes[1])
    assert one.step_s.p50 >= 0.006
    assert ten.step_s.p50 >= 0.015
    assert one.audio_s_per_s == pytest.approx(1.0 / one.step_s.p50, rel=0.5)
    assert ten.audio_s_per_s == pytest.approx(10 * 0.4 / ten.step_s.p50, rel=0.5)
    assert engine.opened == engine.ended == engine.closed
    assert engine.opened == 2 * (1 + 10)  # once for the kernels, once measured
    assert engine.steps[:2] == [(1, 28, False), (1, 25, True)]
    assert engine.steps.count((10, 13, False)) == 1 + 2 + 4


def test_more_streams_than_an_engine_holds_are_left_out_and_the_others_measured() -> None:
    shapes = [BatchShape(1, 25), BatchShape(TimedEngine.max_streams + 1, 25)]
    found = measure_engine("timed", TimedEngine, b"voice", shapes, steps=1, warm_up=0)
    assert [batch.shape for batch in found.batches] == shapes[:1]
    assert (found.left_out, found.max_streams) == ((shapes[1],), TimedEngine.max_streams)


def test_an_unknown_engine_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no engine 'fast'"):
        engine_loader("fast", tmp_path, Token2WavConfig(), {})


@pytest.fixture
def gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The flow's published sizes in `tmp_path`, a GPU as far as torch says, and the class of the
    resident engine: one without the kernels, which need Triton."""
    (tmp_path / "flow.yaml").write_text(FlowConfig().to_yaml())
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    module = ModuleType("deployments.token2wav.resident.resident_engine")
    resident = type("ResidentEngine", (), {"load": classmethod(lambda cls, *_, **__: cls)})
    module.ResidentEngine = resident  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return resident


@pytest.mark.parametrize("device", ["cuda", "auto"])
def test_native_on_a_gpu_is_the_resident_engine_that_serves(
    tmp_path: Path, gpu: Any, device: Any
) -> None:
    config = Token2WavConfig.model_validate(
        {"device": device, "max_batch": 7, "gpu": {"memory_gb": 3}, "chunks": {"steady": 30}}
    )
    load = engine_loader("native", tmp_path, config, {"max_batch": 1})  # for others
    assert isinstance(load, partial)
    assert load.func == gpu.load
    (options,) = load.args
    assert (options.max_batch, options.gpu.memory_gb) == (7, 3)
    assert 30 in options.chunk_tokens  # a step of the schedule's steady chunk has its graph


def test_functional_is_the_functional_engine_on_a_gpu_too(tmp_path: Path, gpu: Any) -> None:
    load = engine_loader("functional", tmp_path, Token2WavConfig(), {"device": "cuda"})
    assert isinstance(load, partial)
    assert load.func == FunctionalEngine.load
    assert load.args[0].device == "cuda"


def test_options_of_load_go_before_the_configuration(tmp_path: Path, gpu: Any) -> None:
    load = engine_loader("functional", tmp_path, Token2WavConfig(seed=1), {"seed": 5})
    assert isinstance(load, partial)
    assert (load.args[0].seed, load.args[0].max_batch) == (5, Token2WavConfig().max_batch)


def test_native_on_a_cpu_is_the_functional_engine(tmp_path: Path) -> None:
    (tmp_path / "flow.yaml").write_text(FlowConfig().to_yaml())
    load = engine_loader("native", tmp_path, Token2WavConfig(device="cpu"), {})
    assert isinstance(load, partial)
    assert load.func == FunctionalEngine.load


def test_native_for_a_gpu_that_is_not_there_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ConfigError, match="sees no GPU"):
        engine_loader("native", tmp_path, Token2WavConfig(device="cuda"), {})


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
