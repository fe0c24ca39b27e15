"""When a canary is heard, and what is the same sound."""

from collections.abc import AsyncIterator
from pathlib import Path

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
from deployments.token2wav.configured_voices import VoiceRecording
from deployments.token2wav.functional import (
    FlowSynthesizer,
    Hift,
    Vocoder,
    load_flow,
    load_hift,
)
from deployments.token2wav.functional.functional_engine import FunctionalEngine
from deployments.token2wav.synthesizer import BatchingSynthesizer
from deployments.token2wav.token2wav_config import Token2WavConfig
from deployments.token2wav.voice import VoiceEncoder
from tests.unit.deployments.token2wav.clock import Clock
from tests.unit.deployments.token2wav.samples import make_wav

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


@pytest.fixture
async def spoken(token2wav_dir: Path) -> AsyncIterator[tuple[BatchingSynthesizer, Hift, Clock]]:
    """A synthesizer over our engine and its own weights, the vocoder's for a test to change."""
    flow, hift = load_flow(token2wav_dir), load_hift(token2wav_dir)
    voices = VoiceEncoder(token2wav_dir, num_threads=1)
    engine = FunctionalEngine(FlowSynthesizer(flow, seed=0), Vocoder(hift, seed=0), voices)
    clock = Clock()
    voice = VoiceRecording(Path("voice.wav"), make_wav(1.04), seconds=1.04)
    synthesizer = BatchingSynthesizer(
        lambda: engine, {"default": voice}, Token2WavConfig().schedule,
        max_batch=8, cached_voices=1, now_s=clock,
    )  # fmt: skip
    await synthesizer.start()
    yield synthesizer, hift, clock
    synthesizer.close()


async def test_an_engine_that_is_well_stays_healthy(spoken):
    synthesizer, _, clock = spoken
    for _ in range(2):
        clock.ahead_s += 100.0
        await synthesizer.check_health()


@pytest.mark.parametrize("wrong", [0.9, np.nan])
async def test_an_engine_whose_weights_are_spoilt_is_unhealthy_at_its_next_check(spoken, wrong):
    synthesizer, hift, clock = spoken
    hift.conv_post.bias += wrong
    clock.ahead_s += 100.0
    with pytest.raises(EngineFailed):
        await synthesizer.check_health()
