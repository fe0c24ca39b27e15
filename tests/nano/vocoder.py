"""Teaches nano's vocoder: mels of the corpus in, its sound at 24 kHz out.

Spectral losses first (R. Yamamoto et al., https://arxiv.org/abs/1910.11480), then also a small
discriminator of spectrograms (W. Jang et al., https://arxiv.org/abs/2106.07889). The predictor of
pitch learns from a tracker; the harmonic source hears the tracker for the first half of the time
and then the predictor, as it will when it serves.
"""

import json
import wave
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deployments.mel import mel_filterbank, voice_mel_spectrogram
from deployments.token2wav.model import (
    SAMPLES_PER_FRAME,
    Hift,
    HiftInput,
    HiftState,
    Vocoder,
    load_hift,
)
from deployments.token2wav.model.hift import Snake
from deployments.token2wav.model.source import VOICED_ABOVE_HZ
from tests.nano import pitch, sizes
from tests.nano.corpus.store import Bank, Corpus
from tests.nano.training import Recipe, device, learning_rate, seed_everything, train

CROP_FRAMES = 48  # 0.96 s
HELD_OUT = 0.02  # of the utterances, the last ones: never trained on, vocoded at the end
CHECKED = 16

_CONTEXT_FRAMES = 2  # skipped at a recording's start: the mel's window looks 720 samples back
_QUIET = 1e-4  # magnitudes below are one silence: -80 dB, where 16 bits still tell them apart

_STFT_SIZES = (256, 512, 1024, 2048)
_MELS = ((1024, 100, 12_000.0), (256, 40, 12_000.0))  # n_fft, bands, Hz: finer in pitch, in time
_MEL_WEIGHT, _VOICE_MEL_WEIGHT = 1.0, 2.0
_UNVOICED_SCALE_HZ = 100.0  # 10 Hz, above which the source takes a frame as voiced, cost 0.1

_TEACHER_UNTIL = 0.5  # of the time
_JUDGED_FROM = 0.4
_JUDGE_SIZES = (512, 1024, 2048)
_JUDGE_WEIGHT, _MATCH_WEIGHT = 0.1, 0.5
_JUDGE_RATE = 0.3  # of the vocoder's learning rate
_NOISE = 0.1  # most of the noise on a mel, in its natural logarithm

LEARNING_RATE = 1e-3


@dataclass(frozen=True, slots=True)
class Crops:
    """A batch of stretches of recordings."""

    samples: Tensor  # [B, 480 T]
    mel: Tensor  # [B, 80, T], the frames that the whole recording has there
    pitch: Tensor  # [B, T] in Hz, 0 where unvoiced


class CropSampler:
    """Draws stretches uniformly out of all the recordings' time, on the recordings' device."""

    def __init__(self, bank: Bank, utterances: int, frames: int = CROP_FRAMES) -> None:
        """Of the first `utterances` of `bank`."""
        self._bank = bank
        self._frames = frames
        starts = bank.lengths[:utterances] // SAMPLES_PER_FRAME - _CONTEXT_FRAMES - frames
        self._starts = starts.clamp(min=1)  # too short a recording is followed by silence
        self._ends = self._starts.cumsum(0)
        self._total = int(self._ends[-1])

    def draw(self, batch: int) -> Crops:
        """A batch of crops. Nothing here waits for the device."""
        at = torch.randint(self._total, (batch,), device=self._ends.device)
        chosen = torch.searchsorted(self._ends, at, right=True)
        start = at - self._ends[chosen] + self._starts[chosen] + _CONTEXT_FRAMES
        return self.cut(chosen, start)

    def cut(self, chosen: Tensor, start: Tensor) -> Crops:
        """Of recordings `chosen` [B] the crops that begin at the frames `start` [B], 2 or more."""
        edge = pitch.CONTEXT
        count = self._frames * SAMPLES_PER_FRAME + 2 * edge
        samples = self._bank.slice(chosen, start * SAMPLES_PER_FRAME - edge, count)
        return Crops(samples[:, edge:-edge], voice_mel(samples), pitch.track_pitch(samples))


def voice_mel(samples: Tensor) -> Tensor:
    """`voice_mel_spectrogram` of a batch with its true surroundings in place of reflections.

    [B, 480 T + 1440] -> [B, 80, T]
    """
    return _log_mel(samples, n_fft=1920, hop=480, bands=80, max_hz=8000.0, floor=1e-5)


def spectral_losses(made: Tensor, true: Tensor) -> dict[str, Tensor]:
    """Distances of samples [B, N]: in short-time spectra, fine mels, and the vocoder's own mel."""
    convergence, magnitude = made.new_zeros(()), made.new_zeros(())
    for n_fft in _STFT_SIZES:
        ours, theirs = _magnitudes(made, n_fft), _magnitudes(true, n_fft)
        convergence = convergence + (theirs - ours).norm() / theirs.norm().clamp(min=_QUIET)
        magnitude = magnitude + F.l1_loss(ours.log(), theirs.log())
    mel = made.new_zeros(())
    for n_fft, bands, max_hz in _MELS:
        ours, theirs = (
            _log_mel(x, n_fft=n_fft, hop=n_fft // 4, bands=bands, max_hz=max_hz, floor=_QUIET)
            for x in (made, true)
        )
        mel = mel + F.l1_loss(ours, theirs)
    edge = pitch.CONTEXT
    reflected = [F.pad(x, (edge, edge), mode="reflect") for x in (made, true)]
    return {
        "convergence": convergence / len(_STFT_SIZES),
        "magnitude": magnitude / len(_STFT_SIZES),
        "mel": mel / len(_MELS),
        "voice_mel": F.l1_loss(voice_mel(reflected[0]), voice_mel(reflected[1])),
    }


def pitch_loss(predicted: Tensor, tracked: Tensor) -> Tensor:
    """Relative error where there is pitch, what is left of it where there is none. Both [B, T]."""
    scale = torch.where(tracked > 0, tracked, _UNVOICED_SCALE_HZ)
    return ((predicted - tracked).abs() / scale).mean()


def new_hift(mel: Tensor) -> Hift:
    """An untrained vocoder whose first layers see the spread of `mel` [B, 80, T] as about 1.

    Log-mels lie around -6, far from what PyTorch's initialisation is made for, and pitch lies
    far from 0: the predictor begins at 150 Hz and moves by 30 Hz where its layers move by 1.
    """
    hift = Hift(sizes.HIFT)
    mean, spread = mel.mean((0, 2)), mel.std()
    with torch.no_grad():
        for layer in (hift.conv_pre, hift.f0_predictor.condnet[0]):
            layer.parametrizations.weight.original0.div_(spread)
            layer.bias.sub_(torch.einsum("oik,i->o", layer.weight, mean))
        hift.f0_predictor.classifier.weight.mul_(30.0)
        hift.f0_predictor.classifier.bias.fill_(150.0)
        hift.conv_post.bias.fill_(-2.0)  # log magnitudes: begin below speech, not above it
    return hift


class Judge(nn.Module):
    """Tells true from made spectrograms at three resolutions, in small patches."""

    def __init__(self, channels: int = 16) -> None:
        super().__init__()
        self.scales = nn.ModuleList(_patches(channels) for _ in _JUDGE_SIZES)

    def forward(self, samples: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Of [B, N] the verdicts (1: true) and the inner features, from all scales."""
        verdicts, features = [], []
        for n_fft, layers in zip(_JUDGE_SIZES, self.scales, strict=True):
            x = _magnitudes(samples, n_fft).log()[:, None] / 4 + 1  # [B, 1, bins, T], about ±1
            for layer in layers[:-1]:
                x = F.leaky_relu(layer(x), 0.1)
                features.append(x)
            verdicts.append(layers[-1](x))
        return verdicts, features


def _patches(channels: int) -> nn.ModuleList:
    """Convolutions over [bins, T] that halve the bins four times."""
    halving = [nn.Conv2d(channels, channels, (9, 3), (2, 1), (4, 1)) for _ in range(3)]
    first = nn.Conv2d(1, channels, (9, 3), (2, 1), (4, 1))
    last = [nn.Conv2d(channels, channels, 3, padding=1), nn.Conv2d(channels, 1, 3, padding=1)]
    return nn.ModuleList([first, *halving, *last])


class Adversary:
    """The judge and its own optimizer: learns in the same step in which it is asked."""

    def __init__(self, where: torch.device) -> None:
        self.judge = Judge().to(where)
        self._optimizer = torch.optim.AdamW(
            self.judge.parameters(), betas=(0.8, 0.99), fused=where.type == "cuda"
        )

    def losses(self, made: Tensor, true: Tensor, rate: float) -> dict[str, Tensor]:
        """One step of the judge at learning rate `rate`, then what the vocoder must answer to.

        Least squares (https://arxiv.org/abs/1611.04076) and distances of the inner features.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        count = len(true)
        verdicts, _ = self.judge(torch.cat((true, made.detach())))
        own = sum(((v[:count] - 1) ** 2).mean() + (v[count:] ** 2).mean() for v in verdicts)
        self._optimizer.zero_grad(set_to_none=True)
        own.backward()
        self._optimizer.step()
        with _frozen(self.judge):
            with torch.no_grad():
                _, wanted = self.judge(true)
            verdicts, features = self.judge(made)
        pairs = zip(features, wanted, strict=True)
        return {
            "judge": own.detach(),
            "fooling": torch.stack([((v - 1) ** 2).mean() for v in verdicts]).mean(),
            # relative, so that a judge cannot enlarge it by enlarging its features
            "matching": torch.stack(
                [F.l1_loss(x, y) / y.abs().mean().clamp(min=1e-5) for x, y in pairs]
            ).mean(),
        }


class VocoderLosses:
    """The callable that `train` asks: draws crops, vocodes them, compares."""

    def __init__(
        self,
        hift: Hift,
        sampler: CropSampler,
        batch: int,
        recipe: Recipe,
        adversary: Adversary | None,
    ) -> None:
        self._hift = hift
        self._sampler = sampler
        self._batch = batch
        self._recipe = recipe
        self._adversary = adversary

    def __call__(self, step: int, done: float) -> dict[str, Tensor]:
        crops = self._sampler.draw(self._batch)
        mel = _roughened(crops.mel)
        predicted = self._hift.f0_predictor(mel)
        heard = crops.pitch if done < _TEACHER_UNTIL else predicted.detach()
        harmonics = self._hift.config.harmonics
        noise = torch.randn((*crops.samples.shape, harmonics), device=mel.device)
        made = self._hift.decode(mel, self._hift.m_source(heard, noise))
        losses = spectral_losses(made, crops.samples)
        losses["pitch"] = pitch_loss(predicted, crops.pitch)
        losses["loss"] = (
            losses["convergence"]
            + losses["magnitude"]
            + _MEL_WEIGHT * losses["mel"]
            + _VOICE_MEL_WEIGHT * losses["voice_mel"]
            + losses["pitch"]
        )
        if self._adversary is not None and done >= _JUDGED_FROM:
            rate = _JUDGE_RATE * learning_rate(self._recipe, done)
            judged = self._adversary.losses(made, crops.samples, rate)
            answer = _JUDGE_WEIGHT * judged["fooling"] + _MATCH_WEIGHT * judged["matching"]
            losses |= judged
            losses["loss"] = losses["loss"] + answer
        return losses


def save_hift(weights: Mapping[str, Tensor], out: Path) -> None:
    """`hift.pt` as published: keys with `generator.`, here in half precision."""
    out.mkdir(parents=True, exist_ok=True)
    torch.save({f"generator.{k}": v.half() for k, v in weights.items()}, out / "hift.pt")


def main(
    corpus: Path,
    out: Path,
    minutes: float,
    batch: int,
    *,
    adversarial: bool = True,
    fuse: bool = False,
) -> None:
    """Train on `corpus`; write `hift.pt`, `vocoder_check.json` and three pairs of WAVs to `out`.

    Args:
        corpus: folder of a `Corpus`.
        out: folder.
        minutes: of training; the check takes some seconds more.
        batch: crops of 0.96 s a step.
        adversarial: whether a discriminator joins.
        fuse: whether `torch.compile` makes one kernel of each activation's five.
    """
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True  # the shapes never change
    where = device()
    recipe = Recipe(minutes=minutes, learning_rate=LEARNING_RATE, betas=(0.8, 0.99))
    seed_everything(recipe.seed)
    data = Corpus.open(corpus)
    trained_on = train_count(data)
    sampler = CropSampler(data.sound_bank(where), trained_on)
    hift = new_hift(sampler.draw(256).mel.cpu()).to(where)
    if fuse:
        _fuse_activations(hift)
    adversary = Adversary(where) if adversarial else None
    losses = VocoderLosses(hift, sampler, batch, recipe, adversary)
    save_hift(train("vocoder", hift, losses, recipe, out), out)
    held_out = torch.linspace(trained_on, len(data.utterances) - 1, CHECKED).long().unique()
    check(data, held_out.tolist(), out)


def train_count(corpus: Corpus) -> int:
    """How many utterances, from the first on, are trained on."""
    return len(corpus.utterances) - max(1, round(HELD_OUT * len(corpus.utterances)))


def check(corpus: Corpus, utterances: list[int], out: Path) -> dict[str, float]:
    """Vocode whole utterances by `out/hift.pt` as the server does; write and return the means."""
    vocoder = Vocoder(load_hift(out), seed=0)
    rows = []
    for index in utterances:
        start, end = corpus.sound_starts[index : index + 2]
        true = torch.from_numpy(corpus.sound[start:end].astype("float32") / 32768)
        mel = voice_mel_spectrogram(true)
        made = vocoder.whole(mel)
        rows.append(_compare(vocoder, true, mel, made))
        if len(rows) <= 3:
            _write_wav(out / f"vocoder_{index}_true.wav", true)
            _write_wav(out / f"vocoder_{index}_made.wav", made)
    means = {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]}
    (out / "vocoder_check.json").write_text(
        json.dumps({"utterances": len(rows)} | {k: round(v, 4) for k, v in means.items()}, indent=2)
        + "\n"
    )
    return means


def _compare(vocoder: Vocoder, true: Tensor, mel: Tensor, made: Tensor) -> dict[str, float]:
    """Of one utterance: samples [N], its mel [T, 80], what the vocoder made of it [480 T]."""
    tracked = pitch.track_pitch(pitch.with_context(true))[0]
    heard = pitch.track_pitch(pitch.with_context(made))[0]
    with torch.inference_mode():
        predicted = vocoder.hift.f0_predictor(mel.T[None])[0]
    predicted = torch.where(predicted > VOICED_ABOVE_HZ, predicted, 0.0)  # as the source takes it
    return {
        "log_mel_l1": float((voice_mel_spectrogram(made) - mel).abs().mean()),
        "streamed_log_mel_l1": float(
            (voice_mel_spectrogram(_streamed(vocoder, mel)) - mel).abs().mean()
        ),
        "sound_pitch_error": _pitch_error(heard, tracked),
        "sound_voicing_agreement": float(((heard > 0) == (tracked > 0)).float().mean()),
        "predictor_pitch_error": _pitch_error(predicted, tracked),
        "predictor_voicing_agreement": float(((predicted > 0) == (tracked > 0)).float().mean()),
    }


def _pitch_error(pitch: Tensor, tracked: Tensor) -> float:
    """The median relative error where both [T] have pitch."""
    both = (pitch > 0) & (tracked > 0)
    return float((pitch[both] / tracked[both] - 1).abs().median()) if both.any() else 1.0


def _streamed(vocoder: Vocoder, mel: Tensor) -> Tensor:
    """Vocode [T, 80] by chunks of 50 frames, the server's. [480 T]"""
    state, parts = HiftState.empty(vocoder.hift), []
    chunks = mel.split(50)
    for index, chunk in enumerate(chunks):
        row = HiftInput(chunk, last=index == len(chunks) - 1, state=state)
        (samples,), (state,) = vocoder.step([row])
        parts.append(samples)
    return torch.cat(parts)


def _write_wav(path: Path, samples: Tensor) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sizes.SOUND_RATE_HZ)
        file.writeframes((samples * 32767).to(torch.int16).numpy().tobytes())


def _roughened(mel: Tensor) -> Tensor:
    """Noise on every second mel or so, as a flow's mels are not the recording's. [B, 80, T]"""
    size = (torch.rand((len(mel), 1, 1), device=mel.device) * 2 - 1).clamp(min=0)
    return mel + _NOISE * size * torch.randn_like(mel)


def _magnitudes(samples: Tensor, n_fft: int) -> Tensor:
    """Short-time spectra of [B, N] in units of the signal's RMS. [B, bins, T]"""
    window = _window(n_fft, samples.device)
    spectrum = torch.stft(samples, n_fft, n_fft // 4, window=window, return_complex=True)
    power = torch.view_as_real(spectrum).square().sum(-1) / (0.375 * n_fft)  # Hann's own power
    return power.clamp(min=_QUIET**2).sqrt()


def _log_mel(
    samples: Tensor, *, n_fft: int, hop: int, bands: int, max_hz: float, floor: float
) -> Tensor:
    """[B, N] -> [B, bands, (N - n_fft) // hop + 1]"""
    window = _window(n_fft, samples.device)
    spectrum = torch.stft(samples, n_fft, hop, window=window, center=False, return_complex=True)
    magnitude = torch.sqrt(torch.view_as_real(spectrum).square().sum(-1) + 1e-9)
    filters = _filters(n_fft, bands, max_hz, samples.device)
    return (filters @ magnitude).clamp(min=floor).log()


@cache  # a copy to the device in every step would make the host wait for it
def _filters(n_fft: int, bands: int, max_hz: float, where: torch.device) -> Tensor:
    return mel_filterbank(sizes.SOUND_RATE_HZ, n_fft, bands, max_hz).to(where)


@cache
def _window(n_fft: int, where: torch.device) -> Tensor:
    return torch.hann_window(n_fft, device=where)


def _fuse_activations(hift: Hift) -> None:
    torch._dynamo.config.suppress_errors = True  # where it cannot compile, it runs as it is
    for module in hift.modules():
        if isinstance(module, Snake):
            module.compile(dynamic=True)  # in place: the state dict keeps its names


@contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    """Gradients pass through `module`, not into it."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)
