"""Teaches nano's speaker encoder: who speaks, and how high, as a direction in 192 dimensions.

The flow reads an embedding's direction alone, so both tasks do too: speakers are told apart by
cosines (F. Wang et al., NormFace, https://arxiv.org/abs/1704.06369), and the pitch is a cosine with
one direction of its own. Frames are pooled to means and deviations (D. Snyder et al., X-vectors,
ICASSP 2018).
"""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.nano.augmentation import with_noise
from tests.nano.corpus.store import Bank, Corpus
from tests.nano.layers import Block, ChannelNorm, frame_mask, masked
from tests.nano.sizes import SPEAKER_DIMS, SPEECH_RATE_HZ
from tests.nano.training import (
    Recipe,
    device,
    exact_float32,
    held_out_from,
    seed_everything,
    train,
)

BINS = 80
FRAME_SAMPLES, WINDOW_SAMPLES = 160, 400  # whole windows only, every 10 ms

_N_FFT = 512
_LOWEST_HZ, _HIGHEST_HZ = 20.0, 8000.0
_PRE_EMPHASIS = 0.97
_WIDTH, _BLOCKS = 128, 4

_CROP_S = (1.5, 4.0)
_SPEAKER_SCALE = 12.0  # of the cosines: ten speakers are told apart without collapsing to points
# eSpeak's pitch is a logarithm already: its table goes exponentially from a quarter to the whole
_MIDDLE_PITCH, _PITCH_STEP = 55.0, 10.0
_STEPS_A_COSINE = 4.0  # 40 of eSpeak's pitches up are a cosine of 1: ±12 of them are ±0.3
_PITCH_WEIGHT = 2.0
_SIMILAR_PITCH = 3  # within which two pitches count as one in the report

LEARNING_RATE = 1e-3


class SpeakerEncoder(nn.Module):
    """Kaldi fbanks to an embedding; 0.37 M parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(BINS, _WIDTH, 5, padding=2)
        self.blocks = nn.ModuleList(Block(_WIDTH, 3) for _ in range(_BLOCKS))
        self.norm = ChannelNorm(_WIDTH)
        self.out = nn.Linear(2 * _WIDTH, SPEAKER_DIMS)

    def forward(self, features: Tensor, frames: Tensor | None = None) -> Tensor:
        """Embeddings, of which only the direction counts.

        Args:
            features: [B, T, 80], their mean removed, zero past a recording's end.
            frames: [B] of each recording; None: all have T.

        Returns:
            [B, 192]
        """
        mask = None if frames is None else frame_mask(frames, features.shape[1])
        x = self.first(features.transpose(1, 2))
        for block in self.blocks:
            x = block(x, mask)
        x = masked(F.silu(self.norm(x)), mask)  # [B, C, T]
        count = x.shape[2] if frames is None else frames[:, None]
        mean = x.sum(2) / count
        deviation = (x.square().sum(2) / count - mean.square()).clamp(min=1e-4).sqrt()
        return self.out(torch.cat((mean, deviation), 1))


def fbank(samples: Tensor) -> Tensor:
    """`kaldi_fbank` of many recordings.

    25 ms Povey windows every 10 ms without their mean, pre-emphasised, 80 triangles on Kaldi's mel
    scale from 20 Hz, the logarithm of their energy.

    Args:
        samples: [B, N] at 16 kHz, -1 … 1, N at least 400.

    Returns:
        [B, 1 + (N - 400) // 160, 80]
    """
    frames = samples.unfold(1, WINDOW_SAMPLES, FRAME_SAMPLES)  # [B, T, 400]
    frames = frames - frames.mean(-1, keepdim=True)
    before = torch.cat((frames[..., :1], frames[..., :-1]), -1)
    window = torch.hann_window(WINDOW_SAMPLES, periodic=False, device=samples.device) ** 0.85
    spectrum = torch.fft.rfft((frames - _PRE_EMPHASIS * before) * window, _N_FFT)
    power = spectrum[..., :-1].abs().square()  # without the bin at 8 kHz: [B, T, 256]
    energy = power @ _kaldi_filters(samples.device)
    return energy.clamp(min=torch.finfo(torch.float32).eps).log()


def frame_counts(lengths: Tensor) -> Tensor:
    """Whole windows in recordings of so many samples."""
    return (lengths - WINDOW_SAMPLES) // FRAME_SAMPLES + 1


def centred_fbank(samples: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """What the encoder reads.

    [B, N] and [B] samples -> [B, T, 80] without each recording's mean, zero past its end; and
    frames [B].
    """
    features = fbank(samples)
    frames = frame_counts(lengths)
    mask = frame_mask(frames, features.shape[1]).transpose(1, 2)  # [B, T, 1]
    mean = (features * mask).sum(1, keepdim=True) / frames[:, None, None]
    return (features - mean) * mask, frames


@cache  # a copy every step would make the device wait
def _kaldi_filters(where: torch.device) -> Tensor:
    """Triangles that are straight on Kaldi's mel scale, 1127 ln(1 + f / 700). [256, 80]"""

    def mel(hz: np.ndarray) -> np.ndarray:
        return 1127 * np.log1p(hz / 700)

    lowest, highest = mel(np.array([_LOWEST_HZ, _HIGHEST_HZ]))
    edges = np.linspace(lowest, highest, BINS + 2)
    bins = mel(np.arange(_N_FFT // 2) * SPEECH_RATE_HZ / _N_FFT)[:, None]  # [256, 1]
    step = edges[1] - edges[0]
    triangles = 1 - np.abs(bins - edges[1:-1]) / step
    return torch.from_numpy(np.maximum(0, triangles).astype(np.float32)).to(where)


class Student(nn.Module):
    """The encoder and the directions of the speakers and of the pitch."""

    def __init__(self, speakers: int) -> None:
        super().__init__()
        self.encoder = SpeakerEncoder()
        self.speakers = nn.Parameter(torch.randn(speakers, SPEAKER_DIMS))
        self.pitch = nn.Parameter(torch.randn(SPEAKER_DIMS))

    def losses(self, direction: Tensor, speaker: Tensor, pitch: Tensor) -> dict[str, Tensor]:
        """Of directions [B, 192] of length 1, speakers [B] and eSpeak's pitches [B]."""
        scores = _SPEAKER_SCALE * direction @ F.normalize(self.speakers, dim=-1).T
        steps = _STEPS_A_COSINE * direction @ F.normalize(self.pitch, dim=-1)
        who = F.cross_entropy(scores, speaker)
        how_high = (steps - (pitch - _MIDDLE_PITCH) / _PITCH_STEP).square().mean()
        return {
            "loss": who + _PITCH_WEIGHT * how_high,
            "speaker": who,
            "wrong": (scores.detach().argmax(-1) != speaker).float().mean(),
            "pitch": how_high,
        }


def main(corpus: Path, out: Path, minutes: float, batch: int) -> None:
    """Train the encoder and write `out`/speaker_encoder.pt.

    Also `speaker_encoder_report.json`, of sentences that were not trained on.

    Args:
        corpus: folder of a `Corpus`.
        out: folder, made if it is missing.
        minutes: of training.
        batch: crops a step.
    """
    seed_everything(0)
    rng = np.random.default_rng(0)
    where = device()
    opened = Corpus.open(corpus)
    bank = opened.speech_bank(where)
    sentence = np.array([u.sentence for u in opened.utterances])
    speaker = torch.tensor([u.speaker for u in opened.utterances]).to(where)
    pitch = torch.tensor([float(u.pitch) for u in opened.utterances]).to(where)
    first_held_out = held_out_from(len(opened.sentences))
    taught = torch.from_numpy(np.flatnonzero(sentence < first_held_out)).to(where)
    student = Student(len(opened.speakers)).to(where)

    def losses(step: int, done: float) -> Mapping[str, Tensor]:
        chosen = taught[torch.randint(len(taught), (batch,), device=where)]
        count = round(rng.uniform(*_CROP_S) * SPEECH_RATE_HZ)
        samples, lengths = _crops(bank, chosen, count)
        features, frames = centred_fbank(with_noise(samples, lengths), lengths)
        with torch.autocast(where.type, torch.bfloat16, enabled=where.type == "cuda"):
            embedding = student.encoder(features, frames)
        direction = F.normalize(embedding.float(), dim=-1)
        return student.losses(direction, speaker[chosen], pitch[chosen])

    recipe = Recipe(minutes=minutes, learning_rate=LEARNING_RATE)
    averaged = train("speaker_encoder", student, losses, recipe, out)
    # What is stored takes 16 bits a weight, and the corpus is embedded with the same weights.
    student.load_state_dict({key: value.half().float() for key, value in averaged.items()})
    torch.save(student.encoder.state_dict(), out / "speaker_encoder.pt")
    held_out = torch.from_numpy(np.flatnonzero(sentence >= first_held_out)).to(where)
    with torch.no_grad():
        directions = F.normalize(_embeddings(student.encoder, bank, held_out, batch), dim=-1)
        values = student.losses(directions, speaker[held_out], pitch[held_out])
    report = {key: float(values[key]) for key in ("speaker", "wrong", "pitch")}
    report |= cosines(directions, speaker[held_out], pitch[held_out])
    report = {key: round(value, 4) for key, value in report.items()}
    (out / "speaker_encoder_report.json").write_text(json.dumps(report, indent=2) + "\n")
    print("speaker_encoder held out", report, flush=True)


def _crops(bank: Bank, chosen: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """`count` samples from anywhere in each recording, or all of a shorter one, and how many."""
    lengths = bank.lengths[chosen]
    offsets = (
        torch.rand(len(chosen), device=chosen.device) * (lengths - count).clamp(min=0)
    ).long()
    return bank.slice(chosen, offsets, count), lengths.clamp(max=count)


@torch.no_grad()
def _embeddings(encoder: SpeakerEncoder, bank: Bank, chosen: Tensor, batch: int) -> Tensor:
    """Of whole utterances [n] -> [n, 192]"""
    embeddings = torch.empty(len(chosen), SPEAKER_DIMS, device=chosen.device)
    with exact_float32():
        for part in bank.lengths[chosen].argsort().split(batch):
            samples, lengths = bank.gather(chosen[part])
            embeddings[part] = encoder(*centred_fbank(samples, lengths))
    return embeddings


def cosines(directions: Tensor, speaker: Tensor, pitch: Tensor) -> dict[str, float]:
    """Mean cosines between different utterances, by whether speaker and pitch are the same.

    Args:
        directions: [n, 192] of length 1.
        speaker: [n]
        pitch: [n] eSpeak's; within 3 counts as the same.
    """
    cosine = directions @ directions.T
    different = ~torch.eye(len(cosine), dtype=torch.bool, device=cosine.device)
    same = (speaker[:, None] == speaker) & different
    near = (pitch[:, None] - pitch).abs() <= _SIMILAR_PITCH
    groups = {
        "cosine_same_speaker_and_pitch": same & near,
        "cosine_same_speaker": same,
        "cosine_between_speakers": (speaker[:, None] != speaker),
    }
    return {name: float(cosine[group].mean()) for name, group in groups.items() if group.any()}


def load(path: Path) -> SpeakerEncoder:
    """The encoder that `main` wrote, on the CPU."""
    encoder = SpeakerEncoder()
    encoder.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return encoder.eval()


def embed_corpus(corpus: Path, out: Path, batch: int) -> None:
    """`out`/embeddings.npy [utterances, 192] float32 of all, with `out`/speaker_encoder.pt."""
    where = device()
    bank = Corpus.open(corpus).speech_bank(where)
    encoder = load(out / "speaker_encoder.pt").to(where)
    everyone = torch.arange(len(bank.lengths), device=where)
    np.save(out / "embeddings.npy", _embeddings(encoder, bank, everyone, batch).cpu().numpy())


def export(state_path: Path, onnx_path: Path) -> None:
    """Write the trained encoder as `campplus.onnx`: input [B, T, 80] -> output [B, 192]."""
    from tests.nano.onnx_export import export_onnx  # the training machine may lack onnx

    example = {"input": torch.zeros(1, 101, BINS)}
    dynamic = {"input": {0: "B", 1: "T"}, "output": {0: "B"}}
    export_onnx(load(state_path), example, "output", dynamic, onnx_path)
