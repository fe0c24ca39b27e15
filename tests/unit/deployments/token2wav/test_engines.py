"""Which engine a configuration and a checkpoint get."""

import logging
from functools import partial
from pathlib import Path

import pytest
from pydantic import ValidationError

from deployments.chunker import ChunkSchedule
from deployments.token2wav import engines
from deployments.token2wav.engines import CaptureProgress, fits_kernels, load_engine
from deployments.token2wav.functional import DiTConfig, EncoderConfig, FlowConfig
from deployments.token2wav.functional.functional_engine import FunctionalEngine
from deployments.token2wav.token2wav_config import Token2WavConfig
from tests.nano.sizes import FLOW

LOOKAHEAD = 3


def test_the_published_sizes_fit_the_kernels():
    assert fits_kernels(FlowConfig())


@pytest.mark.parametrize(
    "flow", [FLOW, FlowConfig(dit=DiTConfig(num_heads=6)), FlowConfig(dit=DiTConfig(head_dim=48))]
)
def test_widths_that_are_no_powers_of_two_do_not(flow):
    assert not fits_kernels(flow)


@pytest.mark.parametrize(
    ("flow", "runs_unfused"), [(FlowConfig(), False), (FLOW, True)], ids=["published", "nano"]
)
def test_a_flow_that_no_kernel_fits_runs_unfused_on_a_gpu(
    tmp_path: Path, monkeypatch, flow, runs_unfused
):
    if not runs_unfused:
        pytest.importorskip("triton", reason="the GPU engine's kernels need Triton")
    (tmp_path / "flow.yaml").write_text(flow.to_yaml())
    monkeypatch.setattr(engines, "_device", lambda config: "cuda")
    load = load_engine(tmp_path, Token2WavConfig(device="cuda"))
    assert isinstance(load, partial)
    assert (load.func == FunctionalEngine.load) is runs_unfused
    assert load.args[0].device == "cuda"


def test_every_chunk_of_the_usual_and_the_busy_schedule_has_a_shape():
    config = Token2WavConfig()
    usual, busy = config.schedules(LOOKAHEAD)
    assert (usual.ramp, busy.ramp) == (config.chunks.ramp, config.busy.ramp)
    assert config.schedule(config.busy.streams - 1, LOOKAHEAD) == usual
    assert config.schedule(config.busy.streams, LOOKAHEAD) == busy
    assert engines.chunk_sizes(usual, busy) == (9, 13, 20, 25, 27)
    longest = engines.chunk_sizes(ChunkSchedule(), ChunkSchedule(ramp=(30,)))[-1]
    assert longest == 30 + 2  # a last chunk: the largest and all but one of the lookahead


def test_answers_that_begin_with_a_large_chunk_anyway_begin_so_on_a_busy_server():
    config = Token2WavConfig(chunks={"ramp": (20,)})
    assert config.schedule(1000, LOOKAHEAD) == ChunkSchedule(ramp=(20,))
    assert len(config.schedules(LOOKAHEAD)) == 1


def test_an_answer_begins_sooner_while_few_others_are_spoken():
    config = Token2WavConfig(quiet={"streams": 2})
    quiet, usual = config.schedule(1, LOOKAHEAD), config.schedule(2, LOOKAHEAD)
    assert (quiet.ramp, usual.ramp) == (config.quiet.ramp, config.chunks.ramp)
    assert quiet.duration_s(0) == pytest.approx(0.04)
    waits = [sum(quiet.ramp[: n + 1]) + LOOKAHEAD for n in range(len(quiet.ramp))]
    assert all(tokens % 4 == 0 for tokens in waits)  # the Thinker makes four in one go
    large = engines.chunk_sizes(*config.schedules(LOOKAHEAD))[0]
    assert all(size <= large for size in quiet.ramp[:3])  # its small chunks have a shape


def test_small_first_chunks_stay_where_the_configuration_has_them():
    config = Token2WavConfig(quiet={"streams": 2}, chunks={"ramp": (4, 8)})
    assert config.schedule(0, LOOKAHEAD).ramp == (4, 8)


@pytest.mark.parametrize(("device", "streams"), [("cuda", 4), ("cpu", 0)])
def test_only_a_gpu_begins_with_a_chunk_of_40_ms_by_default(monkeypatch, device, streams):
    monkeypatch.setattr(engines, "_device", lambda config: device)
    assert engines.for_its_device(Token2WavConfig()).quiet.streams == streams
    chosen = Token2WavConfig(quiet={"streams": 7})
    assert engines.for_its_device(chosen).quiet.streams == 7


@pytest.mark.parametrize("lookahead", [2, 5])
def test_chunks_see_as_far_ahead_as_the_checkpoint_does(tmp_path: Path, lookahead: int):
    flow = FlowConfig(encoder=EncoderConfig(pre_lookahead_len=lookahead))
    (tmp_path / "flow.yaml").write_text(flow.to_yaml())
    options = engines.engine_options(tmp_path, Token2WavConfig(device="cpu"))
    assert options.chunk_tokens[-1] == 25 + lookahead - 1


def test_how_far_chunks_see_ahead_is_no_key():
    with pytest.raises(ValidationError, match="lookahead"):
        Token2WavConfig(chunks={"lookahead": 3})


def test_capture_tells_of_the_first_shape_then_every_5_s_then_of_the_last(caplog):
    caplog.set_level(logging.INFO, logger="deployments")
    clock = iter([30.0, 31.0, 34.9, 35.0, 39.0, 41.0, 41.5, 42.0])  # s, when each shape is done
    progress = CaptureProgress(lambda: next(clock))
    for done in range(1, 9):
        progress(done, 8)
    assert caplog.messages == [
        "Token2Wav: [##..................] 1 of 8 shapes captured",
        "Token2Wav: [##########..........] 4 of 8 shapes captured",
        "Token2Wav: [###############.....] 6 of 8 shapes captured",
        "Token2Wav: [####################] 8 of 8 shapes captured",
    ]
