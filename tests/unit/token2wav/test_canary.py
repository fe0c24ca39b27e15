"""When a canary is heard, and what is the same sound."""

import numpy as np
import pytest

from deployments.errors import EngineFailed
from deployments.token2wav.canary import (
    IDLE_SHARE,
    INTERVAL_S,
    LEAST_SNR_DB,
    TOKENS,
    Canary,
    canary_tokens,
    same_sound,
)

NOW = 100.0
SPEECH = np.sin(np.arange(7680) * 0.05) * 8000


def pcm(samples: np.ndarray) -> bytes:
    return samples.astype("<i2").tobytes()


def noisy(snr_db: float) -> bytes:
    noise = np.random.default_rng(0).standard_normal(len(SPEECH))
    scale = np.sqrt(np.square(SPEECH).mean() / 10 ** (snr_db / 10))
    return pcm(SPEECH + scale * noise)


def test_rounding_is_the_same_sound_and_noise_is_not():
    assert same_sound(noisy(LEAST_SNR_DB + 3), pcm(SPEECH))
    assert not same_sound(noisy(LEAST_SNR_DB - 3), pcm(SPEECH))
    assert not same_sound(pcm(SPEECH)[:-2], pcm(SPEECH))


def test_silence_may_round_but_not_sound():
    silence = np.zeros(100)
    assert same_sound(pcm(silence + 1), pcm(silence))
    assert not same_sound(pcm(silence + 20), pcm(silence))
    assert not same_sound(pcm(silence), pcm(SPEECH[:100]))


def test_its_tokens_are_of_the_codebook():
    for size in (10, 6561):
        tokens = canary_tokens(size)
        assert len(tokens) == TOKENS
        assert all(0 <= token < size for token in tokens)


def test_it_is_due_every_few_seconds_and_seldom_where_it_takes_long():
    for took_s, pause_s in ((0.02, INTERVAL_S), (2.0, IDLE_SHARE * 2.0)):
        canary = Canary()
        assert not canary.is_due(NOW)  # nothing is known yet
        canary.hear(pcm(SPEECH), NOW - took_s, NOW)
        assert not canary.is_due(NOW + pause_s - 0.1)
        assert canary.is_due(NOW + pause_s + 0.1)


def test_one_that_sounded_otherwise_once_is_dead():
    canary = Canary()
    for sound in (pcm(SPEECH), noisy(40)):
        canary.hear(sound, NOW, NOW)
        canary.require_alive()
    for sound in (noisy(0), pcm(SPEECH)):
        canary.hear(sound, NOW, NOW)
        with pytest.raises(EngineFailed):
            canary.require_alive()
