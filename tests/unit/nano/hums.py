"""Something like speech at 16 kHz, for what the two small encoders hear."""

from pathlib import Path

import numpy as np
import torch

from tests.nano.corpus.store import Corpus, Kind, Utterance


def hum(seconds: float, pitch_hz: float, seed: int) -> np.ndarray:
    """Something like speech: harmonics that come and go, over a little noise. [N] int16, 16 kHz"""
    rng = np.random.default_rng(seed)
    time = np.arange(round(16_000 * seconds)) / 16_000
    loudness = np.abs(np.sin(2 * np.pi * 2 * time + rng.uniform(0, 6, (20, 1))))
    harmonics = np.sin(2 * np.pi * pitch_hz * np.arange(1, 21)[:, None] * time)
    samples = 0.02 * (loudness * harmonics).sum(0) + 0.003 * rng.standard_normal(len(time))
    return (32767 * samples.clip(-1, 1)).astype(np.int16)


def small_corpus(folder: Path) -> Corpus:
    """Four sentences, each said twice nearly aligned and once freely, by two speakers."""
    ways: tuple[tuple[int, Kind, float], ...]
    ways = ((0, "standard", 1.3), (1, "standard", 1.31), (0, "free", 1.1))
    utterances, recordings = [], []
    for sentence in range(4):
        for speaker, kind, seconds in ways:
            pitch = 40 + 20 * speaker
            utterances.append(Utterance(sentence, speaker, kind, 165, pitch))
            recordings.append(hum(seconds + 0.1007 * sentence, 100 + 80 * speaker, sentence))
    starts = np.cumsum([0, *map(len, recordings)])
    samples = np.concatenate(recordings)
    sentences = ["Yes, a cat.", "No dog?", "It's all 2 late.", "Good."]
    corpus = Corpus(
        sentences, ["low", "high"], utterances, samples, starts, samples, starts
    )  # who hears has no use for the sound
    corpus.save(folder)
    return corpus


def padded(recordings: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """[B, N] float32 up to a multiple of 640, [B] lengths; what follows an end is not silence."""
    lengths = torch.tensor([len(r) for r in recordings])
    longest = -(-int(lengths.max()) // 640) * 640
    samples = torch.full((len(recordings), longest), 0.5)
    for row, recording in zip(samples, recordings, strict=True):
        row[: len(recording)] = torch.from_numpy(recording / 32768.0)
    return samples, lengths


RECORDINGS = [hum(1.0, 110, 0), hum(1.7132, 190, 1), hum(0.6, 230, 2), hum(1.7199, 90, 3) // 20]
