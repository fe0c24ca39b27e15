"""Our vocoder against the official one: same weights, same noise, ≤ 1e-4."""

import numpy as np
import pytest
import torch

from deployments.token2wav.functional import Hift, HiftConfig, HiftInput, HiftState, Vocoder
from tests.parity.official import official_hift, random_hift, source_noise

TINY = HiftConfig(base_channels=32, f0_channels=32)
FULL = HiftConfig()
TOLERANCE = 1e-4
OVERLAP = 3840


def make_mel(frames: int, seed: int = 5) -> torch.Tensor:
    return torch.randn(frames, 80, generator=torch.Generator().manual_seed(seed))


def official_stream(vocoder: Vocoder, mels: list[torch.Tensor]) -> list[torch.Tensor]:
    """The caching and cross-fade that the official `Token2wav.stream` wraps around HiFT."""
    oracle = official_hift(vocoder.hift)
    window = torch.from_numpy(np.hamming(2 * OVERLAP))
    past_mel, past_source = torch.zeros(1, 80, 0), torch.zeros(1, 1, 0)
    past_speech = torch.zeros(1, 0)
    pieces, frame = [], 0
    for index, chunk in enumerate(mels):
        mel = torch.cat((past_mel, chunk.T[None]), dim=2)
        with source_noise(vocoder.noise, frame * 480, mel.shape[2] * 480):
            speech, source = oracle(mel, past_source)
        if past_speech.shape[1]:
            faded = speech[:, :OVERLAP] * window[:OVERLAP] + past_speech * window[OVERLAP:]
            speech = torch.cat((faded.float(), speech[:, OVERLAP:]), dim=1)
        past_mel, past_source = mel[..., -8:], source[..., -OVERLAP:]
        past_speech = speech[:, -OVERLAP:]
        frame += mel.shape[2] - 8
        last = index == len(mels) - 1
        pieces.append(speech[0] if last else speech[0, :-OVERLAP])
    return pieces


def compare_stream(hift: Hift, lengths: list[int]) -> float:
    vocoder = Vocoder(hift, seed=2)
    mels = list(make_mel(sum(lengths)).split(lengths))
    expected = official_stream(vocoder, mels)
    state, worst = HiftState.empty(hift), 0.0
    for index, mel in enumerate(mels):
        last = index == len(mels) - 1
        samples, states = vocoder.step([HiftInput(mel, last, state)])
        state = states[0]
        assert samples[0].shape == expected[index].shape
        if len(samples[0]):
            worst = max(worst, float((samples[0] - expected[index]).abs().max()))
    loudest = float(torch.cat(expected).abs().max())
    assert 0.01 < loudest < 0.98, "silent or clipped: nothing was compared"
    return worst


def compare_whole(hift: Hift, frames: int) -> float:
    vocoder = Vocoder(hift, seed=2)
    mel = make_mel(frames)
    with source_noise(vocoder.noise, 0, frames * 480):
        expected, _ = official_hift(hift)(mel.T[None])
    actual = vocoder.whole(mel)
    assert actual.shape == (frames * 480,)
    return float((actual - expected[0]).abs().max())


@pytest.fixture(scope="module")
def tiny() -> Hift:
    return random_hift(TINY)


def test_the_random_vocoder_has_voiced_and_unvoiced_frames(tiny: Hift) -> None:
    pitch = tiny.f0_predictor(make_mel(200).T[None])
    voiced = (pitch > 10).float().mean()
    assert 0.5 < voiced < 0.99
    assert (pitch - 10).abs().min() > 1e-2, "a frame at the threshold could fall either way"


def test_a_stream_of_13_chunks_equals_the_official_one(tiny: Hift) -> None:
    assert compare_stream(tiny, [20, 40, *[50] * 10, 14]) <= TOLERANCE


def test_chunks_of_changing_size_equal_the_official_ones(tiny: Hift) -> None:
    assert compare_stream(tiny, [8, 2, 10, 64, 4, 18, 34, 6]) <= TOLERANCE


@pytest.mark.parametrize("frames", [2, 40, 500])
def test_a_whole_utterance_equals_the_official_one(tiny: Hift, frames: int) -> None:
    assert compare_whole(tiny, frames) <= TOLERANCE


def test_in_published_dimensions_stream_and_whole_equal_the_official_ones() -> None:
    hift = random_hift(FULL)
    assert compare_stream(hift, [20] * 12) <= TOLERANCE
    assert compare_whole(hift, 40) <= TOLERANCE
