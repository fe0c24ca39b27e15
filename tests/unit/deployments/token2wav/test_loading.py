"""flow.yaml is inert, weights fit exactly, and every refusal names its file."""

import pickle
import shutil
import sys
from pathlib import Path

import pytest
import torch

from deployments.errors import ConfigError
from deployments.token2wav.functional import (
    FlowConfig,
    Hift,
    HiftConfig,
    Vocoder,
    load_flow,
    load_hift,
)
from deployments.token2wav.functional.published_weights import read_hift
from deployments.token2wav.reference import ReferenceEngine
from tests.unit.deployments.token2wav.samples import load_functional, options

PUBLISHED = FlowConfig().to_yaml()


def test_the_published_dimensions_survive_a_round_trip() -> None:
    assert FlowConfig.from_yaml(PUBLISHED) == FlowConfig()


def test_dropout_and_other_keys_that_the_encoder_ignores_are_accepted() -> None:
    text = PUBLISHED.replace("key_bias: true", "key_bias: true\n    dropout_rate: 0.1")
    assert FlowConfig.from_yaml(text) == FlowConfig()


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("cosyvoice2.flow.decoder_dit.DiT", "os.system", "os.system"),
        ("!new:cosyvoice2.flow.decoder_dit.DiT", "!apply:os.getcwd", "!apply:os.getcwd"),
        ("!new:cosyvoice2.flow.decoder_dit.DiT", "!!python/object:os.Thing", "python/object"),
        ("CausalConditionalCFM", "ConditionalCFM", "ConditionalCFM"),
        (
            "cosyvoice2.flow.decoder_dit.DiT",
            "cosyvoice2.flow.flow.CausalMaskedDiffWithXvec",
            "expected !new:cosyvoice2.flow.decoder_dit.DiT",
        ),
        ("depth: 16", "depht: 16", "depht"),
        ("input_layer: linear", "input_layer: conv2d", "input_layer"),
        ("in_channels: 320", "in_channels: 240", "in_channels"),
        ("inference_cfg_rate: 0.7", "inference_cfg_rate: 0.0", "inference_cfg_rate"),
        ("flow: ", "flow: [", "flow.yaml"),
    ],
)
def test_a_flow_yaml_that_says_something_else_is_refused(old: str, new: str, named: str) -> None:
    assert old in PUBLISHED
    with pytest.raises(ConfigError, match=named.replace("/", ".")):
        FlowConfig.from_yaml(PUBLISHED.replace(old, new))


def test_a_reference_engine_without_the_official_package_says_so(
    token2wav_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cosyvoice2.flow.flow", None)
    with pytest.raises(ConfigError, match="step-audio2"):
        ReferenceEngine.load(options(token2wav_dir))


@pytest.fixture
def copy(token2wav_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(token2wav_dir, tmp_path / "token2wav"))


@pytest.mark.parametrize(
    "name",
    ["flow.yaml", "flow.pt", "hift.pt", "campplus.onnx", "speech_tokenizer_v2_25hz.onnx"],
)
def test_a_missing_or_damaged_file_is_named(copy: Path, name: str) -> None:
    (copy / name).write_bytes(b"\x00 damaged")
    with pytest.raises(ConfigError, match=name):
        load_functional(copy)
    (copy / name).unlink()
    with pytest.raises(ConfigError, match=name):
        load_functional(copy)


def test_a_weight_too_many_or_too_few_is_refused(copy: Path) -> None:
    weights = torch.load(copy / "flow.pt", weights_only=True)
    torch.save({**weights, "one.too.many": torch.zeros(1)}, copy / "flow.pt")
    with pytest.raises(ConfigError, match=r"one\.too\.many"):
        load_flow(copy)
    del weights["encoder_proj.bias"]
    torch.save(weights, copy / "flow.pt")
    with pytest.raises(ConfigError, match=r"encoder_proj\.bias"):
        load_flow(copy)


class _Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("this must not run",)


def test_a_pickle_that_runs_code_is_refused(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copy / "hift.pt").write_bytes(pickle.dumps({"generator.x": _Harmful()}, protocol=2))
    with pytest.raises(ConfigError, match=r"hift\.pt"):
        load_hift(copy)
    torch.save({"generator.x": _Harmful()}, copy / "hift.pt")  # protocol 2, as torch writes
    with pytest.raises(ConfigError, match=r"hift\.pt"):
        load_hift(copy)
    assert "must not run" not in capsys.readouterr().out


def test_the_vocoders_sizes_are_read_from_its_weights(token2wav_dir: Path) -> None:
    config, _ = read_hift(token2wav_dir)
    assert config == HiftConfig(base_channels=32, f0_channels=32)


def test_weights_under_the_old_names_of_weight_norm_load_as_well(copy: Path) -> None:
    stored = torch.load(copy / "hift.pt", weights_only=True)
    renamed = {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): value
        for name, value in stored.items()
    }
    assert renamed.keys() != stored.keys()
    expected = load_hift(copy).state_dict()
    torch.save(renamed, copy / "hift.pt")
    actual = load_hift(copy).state_dict()
    assert all(torch.equal(actual[name], value) for name, value in expected.items())


def test_folding_weight_norm_changes_no_sample(token2wav_dir: Path) -> None:
    config, weights = read_hift(token2wav_dir)
    unfolded = Hift(config)
    unfolded.load_state_dict(weights)
    mel = torch.randn(30, 80, generator=torch.Generator().manual_seed(0)) - 4
    folded = Vocoder(load_hift(token2wav_dir), seed=0).whole(mel)
    assert (folded - Vocoder(unfolded, seed=0).whole(mel)).abs().max() <= 1e-6
