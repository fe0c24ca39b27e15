"""Our front ends against librosa and against Kaldi's definition, on signals with some life."""

import librosa
import numpy as np
import pytest
import torch

from deployments.mel import log_mel_spectrogram, mel_filterbank, voice_mel_spectrogram
from deployments.token2wav.voice import kaldi_fbank
from tests.unit.deployments.token2wav.samples import make_samples

TOLERANCE = 1e-4


@pytest.mark.parametrize(
    ("rate_hz", "n_fft", "n_mels", "max_hz"),
    [(16_000, 400, 128, 8000.0), (16_000, 400, 80, 8000.0), (24_000, 1920, 80, 8000.0)],
)
def test_the_filterbank_is_librosas(rate_hz: int, n_fft: int, n_mels: int, max_hz: float) -> None:
    expected = librosa.filters.mel(sr=rate_hz, n_fft=n_fft, n_mels=n_mels, fmax=max_hz)
    ours = mel_filterbank(rate_hz, n_fft, n_mels, max_hz).numpy()
    assert np.abs(ours - expected).max() <= 1e-8
    assert expected.max() > 1e-3


@pytest.mark.parametrize("padding", [0, 479])
def test_the_16_khz_log_mel_is_whispers(padding: int) -> None:
    samples = make_samples(1.7, 16_000)
    padded = np.pad(samples.astype(np.float64), (0, padding))
    power = librosa.feature.melspectrogram(
        y=padded, sr=16_000, n_fft=400, hop_length=160, n_mels=128, pad_mode="reflect"
    )[:, :-1]
    log_mel = np.log10(np.maximum(power, 1e-10))
    expected = (np.maximum(log_mel, log_mel.max() - 8.0) + 4.0) / 4.0
    ours = log_mel_spectrogram(torch.from_numpy(samples), padding=padding)
    assert ours.shape == (128, (len(samples) + padding) // 160)
    assert np.abs(ours.numpy() - expected).max() <= TOLERANCE


def test_the_24_khz_log_mel_is_as_defined() -> None:
    samples = make_samples(1.7, 24_000)
    padded = np.pad(samples.astype(np.float64), 720, mode="reflect")
    spectrum = librosa.stft(padded, n_fft=1920, hop_length=480, center=False)
    filters = librosa.filters.mel(sr=24_000, n_fft=1920, n_mels=80, fmax=8000, dtype=np.float64)
    expected = np.log(np.maximum(filters @ np.sqrt(np.abs(spectrum) ** 2 + 1e-9), 1e-5))
    ours = voice_mel_spectrogram(torch.from_numpy(samples))
    assert ours.shape == (len(samples) // 480, 80)
    assert np.abs(ours.numpy() - expected.T).max() <= TOLERANCE


def kaldi_definition(samples: np.ndarray) -> np.ndarray:
    """Kaldi's compute-fbank-feats in float64, from its documentation and source."""
    starts = np.arange(1 + (len(samples) - 400) // 160) * 160
    frames = samples.astype(np.float64)[starts[:, None] + np.arange(400)]
    frames = frames - frames.mean(axis=1, keepdims=True)
    before = np.concatenate((frames[:, :1], frames[:, :-1]), axis=1)
    frames = frames - 0.97 * before
    frames = frames * (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 399)) ** 0.85
    power = np.abs(np.fft.rfft(frames, 512)) ** 2  # [T, 257]

    def mel(hz: np.ndarray) -> np.ndarray:
        return 1127.0 * np.log(1.0 + hz / 700.0)

    edges = np.linspace(mel(np.array(20.0)), mel(np.array(8000.0)), 82)
    bins = mel(np.arange(256) * 16_000 / 512)
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    filters = np.maximum(0.0, np.minimum(rising, falling))
    return np.log(np.maximum(power[:, :256] @ filters.T, np.finfo(np.float32).eps))


def test_the_fbank_is_kaldis() -> None:
    samples = make_samples(1.3, 16_000)
    expected = kaldi_definition(samples)
    ours = kaldi_fbank(samples)
    assert ours.shape == expected.shape == (128, 80)
    assert np.abs(ours - expected).max() <= TOLERANCE
