"""Token2Wav's files load through the project's own loaders, and what they make is sound."""

import numpy as np
import onnxruntime
import pytest
import torch

from deployments.token2wav.functional import (
    Flow,
    FlowConfig,
    FlowSynthesizer,
    Hift,
    Vocoder,
    load_flow,
    load_hift,
)
from deployments.token2wav.functional.published_weights import read_weights
from serve_app.checkpoint.sizes import checkpoint
from tests.unit.serve_app.checkpoint.conftest import Made


def session(tiny: Made, name: str) -> onnxruntime.InferenceSession:
    path = tiny.root / "token2wav" / name
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def speech_codes(tiny: Made, feats: np.ndarray) -> np.ndarray:
    length = np.array([feats.shape[2]], dtype=np.int32)
    feed = {"feats": feats, "feats_length": length}
    (codes,) = session(tiny, "speech_tokenizer_v2_25hz.onnx").run(None, feed)
    return codes


def test_flow_file_holds_its_configuration(tiny: Made) -> None:
    text = (tiny.root / "token2wav" / "flow.yaml").read_text()
    assert FlowConfig.from_yaml(text) == checkpoint("tiny").flow


def test_vocoder_keys_carry_the_published_prefix(tiny: Made) -> None:
    weights = read_weights(tiny.root / "token2wav" / "hift.pt")
    assert weights and all(name.startswith("generator.") for name in weights)


@torch.inference_mode()
@pytest.mark.parametrize("seed", [0, 1])
def test_random_codes_become_sound_neither_silent_nor_clipped(tiny: Made, seed: int) -> None:
    folder = tiny.root / "token2wav"
    flow, hift = load_flow(folder), load_hift(folder)
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(6561, (50,), generator=generator)
    voice_mel = torch.randn(40, 80, generator=generator) * 2 - 5
    speaker = torch.randn(192, generator=generator)
    mel = FlowSynthesizer(flow, seed=0).whole(codes, codes[:20], speaker, voice_mel)
    assert mel.shape == (100, 80)
    assert -8 < mel.mean() < -2 and 0.5 < mel.std() < 4  # of log-mels of speech
    pitch = hift.f0_predictor(mel.T[None])
    assert 60 < pitch.median() < 300
    samples = Vocoder(hift, seed=0).whole(mel)
    assert samples.shape == (50 * 960,)
    assert 0.01 < samples.square().mean().sqrt() < 0.3
    assert (samples.abs() > 0.98).float().mean() < 0.001


def test_full_flow_and_vocoder_have_the_published_parameter_counts() -> None:
    full = checkpoint("full")
    with torch.device("meta"):
        flow, hift = Flow(full.flow), Hift(full.hift)
    assert sum(p.numel() for p in flow.parameters()) == pytest.approx(155.8e6, abs=0.05e6)
    hift.fold_weight_norm()
    assert sum(p.numel() for p in hift.parameters()) == pytest.approx(20.8e6, abs=0.05e6)


def test_speech_tokenizer_has_the_published_inputs(tiny: Made) -> None:
    inputs = session(tiny, "speech_tokenizer_v2_25hz.onnx").get_inputs()
    assert [(i.name, i.shape, i.type) for i in inputs] == [
        ("feats", [1, 128, "T"], "tensor(float)"),
        ("feats_length", [1], "tensor(int32)"),
    ]


@pytest.mark.parametrize(
    ("frames", "codes"), [(4, 1), (100, 25), (101, 26), (104, 26), (2999, 750)]
)
def test_speech_tokenizer_makes_25_codes_a_second(tiny: Made, frames: int, codes: int) -> None:
    made = speech_codes(tiny, random(1, 128, frames))
    assert made.shape == (1, codes) and made.dtype == np.int32
    assert made.min() >= 0 and made.max() < 6561


def test_speech_tokenizer_listens(tiny: Made) -> None:
    first, second = (speech_codes(tiny, random(1, 128, 400, seed=seed)) for seed in (0, 1))
    assert np.mean(first == second) < 0.1
    assert len(np.unique(first)) > 50
    assert np.array_equal(first, speech_codes(tiny, random(1, 128, 400, seed=0)))


def test_speech_tokenizer_counts_only_the_given_length(tiny: Made) -> None:
    feed = {"feats": random(1, 128, 200), "feats_length": np.array([120], dtype=np.int32)}
    (codes,) = session(tiny, "speech_tokenizer_v2_25hz.onnx").run(None, feed)
    assert codes.shape == (1, 30)


def test_speaker_encoder_tells_recordings_apart(tiny: Made) -> None:
    encoder = session(tiny, "campplus.onnx")
    (given,) = encoder.get_inputs()
    assert given.shape == ["B", "T", 80]
    first, second = (
        encoder.run(None, {given.name: random(1, 300, 80, seed=seed) * (1 + seed)})[0]
        for seed in (0, 1)
    )
    assert first.shape == (1, 192)
    assert np.abs(first - second).max() > 0.05
