"""Teaches nano's vocoder: mels of the corpus in, its sound at 24 kHz out.

Spectral losses first (`vocoder_spectra`), then also a small discriminator (`vocoder_judge`). The
predictor of pitch learns from a tracker; the harmonic source hears the tracker for the first half
of the time and then the predictor, as it will when it serves.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from deployments.token2wav.functional import Hift
from deployments.token2wav.functional.hift import Snake
from tests.nano import sizes
from tests.nano.corpus.store import Corpus
from tests.nano.training import Recipe, device, learning_rate, seed_everything, train
from tests.nano.vocoder_check import check
from tests.nano.vocoder_crops import CropSampler
from tests.nano.vocoder_judge import Adversary
from tests.nano.vocoder_spectra import spectral_losses

HELD_OUT = 0.02  # of the utterances, the last ones: never trained on, vocoded at the end
CHECKED = 16

_MEL_WEIGHT, _VOICE_MEL_WEIGHT = 1.0, 2.0
_UNVOICED_SCALE_HZ = 100.0  # 10 Hz, above which the source takes a frame as voiced, cost 0.1

_TEACHER_UNTIL = 0.5  # of the time
_JUDGED_FROM = 0.4
_JUDGE_WEIGHT, _MATCH_WEIGHT = 0.1, 0.5
_JUDGE_RATE = 0.3  # of the vocoder's learning rate
_JUDGE = "vocoder_judge.pt"  # the adversary between two slices
_NOISE = 0.1  # most of the noise on a mel, in its natural logarithm

LEARNING_RATE = 1e-3


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
    span: tuple[float, float] = (0.0, 1.0),
    adversarial: bool = True,
    fuse: bool = False,
) -> None:
    """Train on `corpus`; write `hift.pt`, `vocoder_check.json` and three pairs of WAVs to `out`.

    A slice that is not the last leaves its state in `out`, too, where the next one goes on.

    Args:
        corpus: folder of a `Corpus`.
        out: folder.
        minutes: of training; the check takes some seconds more.
        batch: crops of 0.96 s a step.
        span: the part of the whole training that these minutes are, 0 … 1.
        adversarial: whether a discriminator joins.
        fuse: whether `torch.compile` makes one kernel of each activation's five.
    """
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True  # the shapes never change
    where = device()
    recipe = Recipe(minutes=minutes, learning_rate=LEARNING_RATE, betas=(0.8, 0.99), span=span)
    seed_everything(recipe.seed)
    data = Corpus.open(corpus)
    trained_on = train_count(data)
    sampler = CropSampler(data.sound_bank(where), trained_on)
    hift = new_hift(sampler.draw(256).mel.cpu()).to(where)
    if fuse:
        _fuse_activations(hift)
    adversary = Adversary(where) if adversarial else None
    if adversary and span[0] > 0:
        adversary.load(out / _JUDGE)
    losses = VocoderLosses(hift, sampler, batch, recipe, adversary)
    save_hift(train("vocoder", hift, losses, recipe, out), out)
    if adversary and span[1] < 1:
        adversary.save(out / _JUDGE)
    held_out = torch.linspace(trained_on, len(data.utterances) - 1, CHECKED).long().unique()
    check(data, held_out.tolist(), out)


def train_count(corpus: Corpus) -> int:
    """How many utterances, from the first on, are trained on."""
    return len(corpus.utterances) - max(1, round(HELD_OUT * len(corpus.utterances)))


def _roughened(mel: Tensor) -> Tensor:
    """Noise on every second mel or so, as a flow's mels are not the recording's. [B, 80, T]"""
    size = (torch.rand((len(mel), 1, 1), device=mel.device) * 2 - 1).clamp(min=0)
    return mel + _NOISE * size * torch.randn_like(mel)


def _fuse_activations(hift: Hift) -> None:
    torch._dynamo.config.suppress_errors = True  # where it cannot compile, it runs as it is
    for module in hift.modules():
        if isinstance(module, Snake):
            module.compile(dynamic=True)  # in place: the state dict keeps its names
