"""Which engine a configuration and a checkpoint get."""

from functools import partial
from pathlib import Path

import pytest

from deployments.token2wav import engines
from deployments.token2wav.config import Token2WavConfig
from deployments.token2wav.engine import Token2WavEngine
from deployments.token2wav.engines import fits_kernels, load_engine
from deployments.token2wav.model import DiTConfig, FlowConfig
from tests.nano.sizes import FLOW


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
    assert (load.func == Token2WavEngine.load) is runs_unfused
    assert load.keywords["device"] == "cuda"
