"""A tiny token2wav folder and synthetic voices, for every test of this stage."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from deployments.token2wav.contract import EngineOptions
from deployments.token2wav.engines import engine_options
from deployments.token2wav.functional.functional_engine import FunctionalEngine
from deployments.token2wav.token2wav_config import Token2WavConfig
from serve_app.checkpoint.onnx_models import write_speaker_encoder, write_speech_tokenizer
from serve_app.checkpoint.sizes import checkpoint
from serve_app.checkpoint.token2wav_weights import write_flow, write_hift


def write_tiny_token2wav(directory: Path) -> Path:
    """The token2wav part of the tiny checkpoint."""
    plan = checkpoint("tiny")
    write_speech_tokenizer(directory / "speech_tokenizer_v2_25hz.onnx", seed=0)
    write_speaker_encoder(directory / "campplus.onnx", seed=0)
    write_flow(directory, plan.flow, seed=0)
    write_hift(directory, plan.hift, seed=0)
    return directory


def options(token2wav_dir: Path, **settings: Any) -> EngineOptions:
    """What an engine on the CPU is loaded with, by the keys of `Token2WavConfig`."""
    return engine_options(token2wav_dir, Token2WavConfig(device="cpu", **settings))


def load_functional(token2wav_dir: Path, **settings: Any) -> FunctionalEngine:
    return FunctionalEngine.load(options(token2wav_dir, **settings))


def make_samples(seconds: float, rate_hz: int = 24_000, pitch_hz: float = 180.0) -> np.ndarray:
    """Something like a vowel: harmonics that fade in and out, and a little noise."""
    time = np.arange(int(seconds * rate_hz)) / rate_hz
    harmonics = sum(np.sin(2 * np.pi * pitch_hz * n * time) / n for n in range(1, 9))
    envelope = 0.6 + 0.4 * np.sin(2 * np.pi * 3 * time)
    noise = np.random.default_rng(0).standard_normal(len(time))
    return (0.2 * envelope * harmonics + 0.005 * noise).astype(np.float32)


def make_wav(seconds: float, rate_hz: int = 24_000, pitch_hz: float = 180.0) -> bytes:
    """A WAV file of `make_samples`."""
    file = io.BytesIO()
    soundfile.write(file, make_samples(seconds, rate_hz, pitch_hz), rate_hz, format="WAV")
    return file.getvalue()


def make_tokens(count: int, seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).integers(0, 6561, count).tolist()
