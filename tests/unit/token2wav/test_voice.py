"""What is derived from a recording of a voice."""

import io
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from deployments.audio import resample
from deployments.errors import ReferenceAudioUnfit
from deployments.mel import voice_mel_spectrogram
from deployments.token2wav.voice import VoiceEncoder, fit_frames
from tests.unit.audio.recordings import make_recording
from tests.unit.token2wav.samples import make_wav


@pytest.fixture(scope="module")
def encoder(token2wav_dir: Path) -> VoiceEncoder:
    return VoiceEncoder(token2wav_dir, num_threads=1)


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000, 44_100, 48_000])
@pytest.mark.parametrize("seconds", [1.0, 1.013, 2.5, 30.0])
def test_every_voice_has_two_mel_frames_a_code_and_25_codes_a_second(
    encoder: VoiceEncoder, seconds: float, rate_hz: int
) -> None:
    prompt = encoder.encode(make_wav(seconds, rate_hz))
    assert abs(len(prompt.codes) - 25 * seconds) <= 1
    assert prompt.mel.shape == (2 * len(prompt.codes), 80)
    assert prompt.embedding.shape == (192,)
    assert prompt.codes.dtype == torch.int64
    assert all(0 <= code < 6561 for code in prompt.codes.tolist())
    assert prompt.mel.isfinite().all() and prompt.embedding.isfinite().all()


def test_a_voice_over_the_limit_is_refused_before_it_is_decoded_whole(
    encoder: VoiceEncoder,
) -> None:
    ten_minutes = make_recording("adts", 1.0) * 600
    tracemalloc.start()
    with pytest.raises(ReferenceAudioUnfit, match="a voice recording must last"):
        encoder.encode(ten_minutes)
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most_bytes < 20e6  # whole, it takes 58 MB


def test_two_voices_differ_in_everything(encoder: VoiceEncoder) -> None:
    low, high = (encoder.encode(make_wav(2.0, pitch_hz=pitch)) for pitch in (110.0, 260.0))
    assert not torch.equal(low.codes, high.codes)
    assert not torch.allclose(low.embedding, high.embedding)
    assert not torch.allclose(low.mel, high.mel)


def test_the_mel_is_taken_from_the_recording_and_not_from_its_16_khz_version(
    encoder: VoiceEncoder,
) -> None:
    rate_hz = 48_000
    noise = 0.1 * np.random.default_rng(0).standard_normal(2 * rate_hz).astype(np.float32)
    file = io.BytesIO()
    soundfile.write(file, noise, rate_hz, format="WAV", subtype="FLOAT")
    mel = encoder.encode(file.getvalue()).mel
    direct = voice_mel_spectrogram(torch.from_numpy(resample(noise, rate_hz, 24_000)))
    narrow = resample(resample(noise, rate_hz, 16_000), 16_000, 24_000)
    by_detour = voice_mel_spectrogram(torch.from_numpy(narrow))
    assert torch.equal(mel, direct[: len(mel)])
    assert (by_detour - direct)[:, -1].mean() < -0.3  # the resampler's edge lies below 8 kHz


def test_a_mel_is_cut_or_its_last_frame_repeated() -> None:
    mel = torch.arange(12.0).reshape(4, 3)
    assert torch.equal(fit_frames(mel, 2), mel[:2])
    assert torch.equal(fit_frames(mel, 4), mel)
    longer = fit_frames(mel, 6)
    assert torch.equal(longer[:4], mel)
    assert torch.equal(longer[4:], mel[3].expand(2, 3))
