"""What is derived from a recording of a voice."""

import io
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from deployments.audio_decoding import resample
from deployments.errors import ReferenceAudioUnfit, VoiceUnusable
from deployments.mel import voice_mel_spectrogram
from deployments.token2wav.voice import VoiceEncoder, fit_frames
from tests.unit.deployments.audio_decoding.recordings import make_recording
from tests.unit.deployments.token2wav.samples import make_samples, make_wav


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


def wav_of(samples: np.ndarray, rate_hz: int = 24_000) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format="WAV", subtype="FLOAT")
    return file.getvalue()


@pytest.mark.parametrize("loudest", [1e30, 3e38])
def test_a_recording_of_which_no_finite_mel_is_made_is_refused(
    encoder: VoiceEncoder, loudest: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = (make_samples(2.0) * loudest).astype(np.float32)
    assert np.isfinite(samples).all()
    # as they come where nobody bounds them
    monkeypatch.setattr("deployments.token2wav.voice.decode_voice", lambda *_: (samples, 24_000))
    with pytest.raises(VoiceUnusable, match="not finite") as refused:
        encoder.encode(b"")
    assert refused.value.param == "voice"


class Session:
    """Stands in for one of the two ONNX models."""

    def __init__(self, output: np.ndarray) -> None:
        self._output = output

    def run(self, names: None, feeds: object) -> list[np.ndarray]:
        return [self._output]

    def get_inputs(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name="input")]


@pytest.mark.parametrize("codes", [[], [5, -1], [6561, 3]])
def test_a_recording_whose_codes_are_no_audio_tokens_is_refused(
    encoder: VoiceEncoder, codes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder, "_tokenizer", Session(np.array(codes, np.int64)))
    with pytest.raises(VoiceUnusable, match="codebook"):
        encoder.encode(wav_of(make_samples(2.0)))


def test_a_recording_without_a_finite_embedding_is_refused(
    encoder: VoiceEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder, "_speaker", Session(np.full(192, np.nan, np.float32)))
    with pytest.raises(VoiceUnusable, match="embedding"):
        encoder.encode(wav_of(make_samples(2.0)))


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
