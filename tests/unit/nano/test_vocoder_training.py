"""How nano's vocoder is taught: its crops, its pitch, its losses, and the file that it leaves."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from deployments.mel import voice_mel_spectrogram
from deployments.token2wav.functional import Vocoder, load_hift
from tests.nano.corpus.store import Bank, Corpus, Utterance
from tests.nano.pitch import track_pitch, with_context
from tests.nano.training import Recipe
from tests.nano.vocoder import VocoderLosses, new_hift, pitch_loss, save_hift, train_count
from tests.nano.vocoder_check import check
from tests.nano.vocoder_crops import CropSampler
from tests.nano.vocoder_judge import Adversary
from tests.nano.vocoder_spectra import spectral_losses

CPU = torch.device("cpu")
FRAME = 480


def tone(hz: float, samples: int, harmonics: int = 20) -> Tensor:
    """A buzz [N] at 24 kHz with overtones below 10 kHz."""
    time = torch.arange(samples) / 24_000
    overtones = [k for k in range(1, harmonics + 1) if k * hz < 10_000]
    return 0.1 * sum(torch.sin(2 * torch.pi * hz * k * time + k) / k for k in overtones)


def noise(samples: int) -> Tensor:
    return 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """Four recordings of different pitch and length: half a buzz, half a hiss, some silence."""
    lengths = [40_000, 31_111, 52_345, 30_000]
    recordings = [
        torch.cat((torch.zeros(3000), tone(90.0 + 40 * i, n // 2), noise(n - n // 2 - 3000)))
        for i, n in enumerate(lengths)
    ]
    sound = (torch.cat(recordings) * 32767).to(torch.int16).numpy()
    starts = np.concatenate(([0], np.cumsum(lengths)))
    return Corpus(
        sentences=["a"],
        speakers=["b"],
        utterances=[Utterance(0, 0, "standard", 165, 50) for _ in lengths],
        speech=np.zeros(0, np.int16),
        speech_starts=np.zeros(len(lengths) + 1, np.int64),
        sound=sound,
        sound_starts=starts,
    )


@pytest.fixture(scope="module")
def bank(corpus: Corpus) -> Bank:
    return corpus.sound_bank(CPU)


def recording(corpus: Corpus, index: int) -> Tensor:
    start, end = corpus.sound_starts[index : index + 2]
    return torch.from_numpy(corpus.sound[start:end].astype(np.float32) / 32768)


@pytest.mark.parametrize("hz", [62.0, 85.0, 130.0, 210.0, 300.0, 390.0])
def test_the_pitch_of_a_buzz_is_found_within_a_hundredth(hz: float) -> None:
    pitch = track_pitch(with_context(tone(hz, 24_000)))[0]
    inner = pitch[1:-1]  # the window of the first and the last frame is half silence
    assert (inner / hz - 1).abs().max() < 0.01


def test_noise_and_silence_have_no_pitch() -> None:
    assert not track_pitch(with_context(noise(48_000))).any()
    assert not track_pitch(with_context(torch.zeros(48_000))).any()
    assert not track_pitch(with_context(1e-3 * tone(120.0, 48_000))).any()


def test_pitch_follows_a_glide_frame_by_frame() -> None:
    time = torch.arange(48_000) / 24_000
    hz = 100.0 + 50.0 * time  # an octave in two seconds
    phase = 2 * torch.pi * (hz / 24_000).cumsum(0)
    glide = 0.1 * sum(torch.sin(k * phase) / k for k in range(1, 15))
    centres = hz[FRAME // 2 :: FRAME]
    pitch = track_pitch(with_context(glide))[0]
    assert (pitch / centres - 1)[2:-2].abs().max() < 0.01


def test_the_mel_of_a_crop_is_that_of_the_whole_recording(corpus: Corpus, bank: Bank) -> None:
    chosen, start = torch.tensor([0, 2, 1]), torch.tensor([2, 50, 20])
    crops = CropSampler(bank, 4, frames=20).cut(chosen, start)
    for row, (index, first) in enumerate(zip(chosen.tolist(), start.tolist(), strict=True)):
        whole = voice_mel_spectrogram(recording(corpus, index))
        torch.testing.assert_close(crops.mel[row].T, whole[first : first + 20], atol=2e-3, rtol=0)
        samples = recording(corpus, index)[first * FRAME : (first + 20) * FRAME]
        assert torch.equal(crops.samples[row], samples)


def test_a_crop_past_the_end_is_one_of_a_recording_that_goes_on_in_silence(
    corpus: Corpus, bank: Bank
) -> None:
    first = len(recording(corpus, 1)) // FRAME - 10
    crops = CropSampler(bank, 4, frames=20).cut(torch.tensor([1]), torch.tensor([first]))
    whole = voice_mel_spectrogram(torch.cat((recording(corpus, 1), torch.zeros(40 * FRAME))))
    torch.testing.assert_close(crops.mel[0].T, whole[first : first + 20], atol=2e-3, rtol=0)
    assert crops.mel[0, :, -1].max() < -11.5
    assert crops.pitch[0, -8:].max() == 0


def test_crops_are_drawn_from_the_first_recordings_only(bank: Bank) -> None:
    torch.manual_seed(0)
    sampler = CropSampler(bank, 2, frames=20)
    crops = sampler.draw(64)
    heard = crops.pitch[crops.pitch > 0]
    assert heard.numel() > 100
    assert ((heard - 90).abs().minimum((heard - 130).abs()) < 3).float().mean() > 0.98


def test_losses_are_nothing_for_the_same_sound_and_something_for_another() -> None:
    true, other = tone(120.0, 12_000)[None], tone(180.0, 12_000)[None]
    assert all(float(x) < 1e-6 for x in spectral_losses(true, true).values())
    assert all(float(x) > 0.05 for x in spectral_losses(other, true).values())


def test_unvoiced_frames_cost_what_the_source_would_hear() -> None:
    tracked = torch.tensor([[0.0, 200.0]])
    assert float(pitch_loss(torch.tensor([[0.0, 200.0]]), tracked)) == 0.0
    assert float(pitch_loss(torch.tensor([[10.0, 200.0]]), tracked)) == pytest.approx(0.05)
    assert float(pitch_loss(torch.tensor([[0.0, 220.0]]), tracked)) == pytest.approx(0.05)


def test_a_judge_learns_apart_from_the_vocoder() -> None:
    """Its step is its own: the vocoder's backward leaves no gradient in it, and reaches `made`."""
    torch.manual_seed(0)
    adversary = Adversary(CPU)
    true = tone(120.0, 9600)[None]
    made = noise(9600)[None].requires_grad_()
    first = adversary.losses(made, true, 1e-3)
    before = [p.grad.clone() for p in adversary.judge.parameters()]
    (first["fooling"] + first["matching"]).backward()
    assert made.grad is not None and made.grad.abs().max() > 0
    assert all(map(torch.equal, before, (p.grad for p in adversary.judge.parameters())))
    for _ in range(20):
        last = adversary.losses(made.detach(), true, 1e-3)
    assert last["judge"] < 0.5 * first["judge"]


def test_a_judge_goes_on_where_it_stopped(tmp_path: Path) -> None:
    torch.manual_seed(0)
    true, made = torch.randn(2, 4800), torch.randn(2, 4800)
    first = Adversary(CPU)
    first.losses(made, true, 1e-3)
    first.save(tmp_path / "judge.pt")
    second = Adversary(CPU)
    second.load(tmp_path / "judge.pt")
    again = [float(judge.losses(made, true, 1e-3)["judge"]) for judge in (first, second)]
    assert again[0] == again[1]
    after = [torch.cat([p.flatten() for p in j.judge.parameters()]) for j in (first, second)]
    torch.testing.assert_close(*after)


def test_a_few_steps_make_the_sound_closer_and_the_file_serves(
    corpus: Corpus, bank: Bank, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    sampler = CropSampler(bank, train_count(corpus), frames=12)
    hift = new_hift(sampler.draw(16).mel)
    recipe = Recipe(minutes=1.0, learning_rate=1e-3)
    losses = VocoderLosses(hift, sampler, 2, recipe, Adversary(CPU))
    save_hift(hift.state_dict(), tmp_path)
    before = check(corpus, [0, 3], tmp_path)
    optimizer = torch.optim.AdamW(hift.parameters(), lr=1e-3)
    for step in range(16):
        optimizer.zero_grad()
        losses(step, 0.0 if step < 13 else 0.9)["loss"].backward()
        torch.nn.utils.clip_grad_norm_(hift.parameters(), 1.0)
        optimizer.step()
    save_hift(hift.state_dict(), tmp_path)
    after = check(corpus, [0, 3], tmp_path)
    assert after["log_mel_l1"] < 0.7 * before["log_mel_l1"]
    assert (tmp_path / "vocoder_check.json").is_file()
    assert len(list(tmp_path.glob("vocoder_*_made.wav"))) == 2


def test_half_precision_in_the_file_is_not_heard(bank: Bank, tmp_path: Path) -> None:
    torch.manual_seed(0)
    mel = CropSampler(bank, 4, frames=20).draw(4).mel
    hift = new_hift(mel)
    save_hift(hift.state_dict(), tmp_path)
    stored = Vocoder(load_hift(tmp_path), seed=0)
    hift.fold_weight_norm()
    exact = Vocoder(hift.eval(), seed=0)
    # the same source for both: pitch that differs by 0.1 Hz would move the phase, not the sound
    source = exact.hift.excite(mel, exact.noise.at(0, 20 * FRAME).expand(4, -1, -1))
    with torch.inference_mode():
        ours, theirs = stored.hift.decode(mel, source), exact.hift.decode(mel, source)
        pitch = stored.hift.f0_predictor(mel) - exact.hift.f0_predictor(mel)
    assert (ours - theirs).square().mean() < 1e-5 * theirs.square().mean()  # -50 dB
    assert pitch.abs().max() < 1.0  # Hz
