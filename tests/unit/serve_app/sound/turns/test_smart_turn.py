"""Smart Turn's features and model."""

import hashlib
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest
from transformers import WhisperFeatureExtractor

from serve_app.sound.turns.smart_turn import SAMPLES_HEARD, SmartTurn
from serve_app.sound.turns.smart_turn.features import log_mel
from serve_app.sound.turns.smart_turn.model import MODEL
from serve_app.sound.voice_activity import RATE_HZ
from tests.nano.with_pauses import with_pauses


@pytest.mark.parametrize("seconds", [0.5, 3.0, 8.0, 11.0])
def test_features_are_whispers(seconds: float) -> None:
    sound = with_pauses(4).samples[: int(seconds * RATE_HZ)]
    heard = sound[-SAMPLES_HEARD:]
    heard = np.pad(heard, (SAMPLES_HEARD - len(heard), 0))
    theirs = WhisperFeatureExtractor(chunk_length=8)(
        heard, sampling_rate=RATE_HZ, return_tensors="np", do_normalize=True
    ).input_features[0]
    ours = log_mel(sound)
    assert ours.shape == (80, 800) and ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, atol=2e-3)
    assert np.abs(ours - theirs).mean() < 1e-5


def test_silence_has_features() -> None:
    assert np.isfinite(log_mel(np.zeros(RATE_HZ, np.float32))).all()


def test_the_model_gives_a_probability() -> None:
    model, spoken = SmartTurn(), with_pauses(2)
    found = [model(spoken.samples[: int(second * RATE_HZ)]) for second in (1.2, 2.0, 3.0)]
    assert all(0 <= each <= 1 for each in found) and len(set(found)) == 3


def test_probabilities_are_those_of_exact_integers() -> None:
    """Without optimisation ONNX Runtime computes the quantised model in floating point."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    exact = onnxruntime.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])
    model, spoken = SmartTurn(), with_pauses(6)
    apart = []
    for sentence in spoken.sentences:
        sound = spoken.samples[: int((sentence.end_s + 0.2) * RATE_HZ)]
        (values,) = exact.run(None, {"input_features": log_mel(sound)[None]})
        apart.append(abs(model(sound) - float(values[0, 0])))
    assert np.mean(apart) < 0.06


def test_the_file_is_the_one_its_page_names() -> None:
    digest = hashlib.sha256(MODEL.read_bytes()).hexdigest()
    assert digest in (MODEL.parent / "README.md").read_text(encoding="utf-8")
    assert "BSD 2-Clause" in (MODEL.parent / "LICENSE").read_text(encoding="utf-8")


def test_turns_import_no_torch() -> None:
    script = (
        "import sys; from serve_app.sound.turns import TurnJudge, VoiceActivity; "
        "TurnJudge(); VoiceActivity(); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
