"""Teaches nano's speech tokenizer: 16 kHz speech in, 25 codes a second out.

Finite scalar quantisation (F. Mentzer et al., https://arxiv.org/abs/2309.15505) of a small local
network. What a code must keep is what was said: a reader spells the sentence from the values (CTC,
A. Graves et al., ICML 2006). What it may leave out is who said it: a painter, told the speaker and
the pitch, draws the spectrum, every other time that of another speaker who says the same. Two who
say the same shall have the same codes, which alone would make all codes one: so each digit must
vary, and not as another does (A. Bardes et al., VICReg, https://arxiv.org/abs/2105.04906).
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deployments.mel import mel_filterbank
from serve_app.word_errors import edit_distance
from tests.nano.corpus.store import Bank, Corpus, batches
from tests.nano.sizes import ACTIVE_DIGITS, CODE_LEVELS, SPEECH_RATE_HZ, USED_CODES
from tests.nano.training import Recipe, device, seed_everything, train

MELS = 128
FRAME_SAMPLES = 160  # 100 mel frames a second
CODE_FRAMES = 4
CODE_SAMPLES = CODE_FRAMES * FRAME_SAMPLES
HELD_OUT = 0.02  # of the sentences, the last ones: never trained on, measured at the end

_N_FFT = 400
_WIDTH, _BLOCKS = 224, 5  # each block sees one code, 40 ms, further to either side: ±0.23 s in all
_READER_WIDTH, _READER_BLOCKS, _READER_KERNEL = 192, 4, 7
_PAINTER_WIDTH, _PAINTER_BLOCKS, _PAINTER_KERNEL = 192, 3, 5
_PAINTED_BANDS = MELS // 2  # too coarse for the harmonics of a voice, fine enough for formants
_HALVES = 2  # the reader spells and the painter draws two frames a code, 50 a second

_SNR_DB = (15.0, 60.0)
_GAIN_DB = 8.0
_TILT_DB = 2.0  # standard deviation of the slowest of the equaliser's three waves
_PAIRED_WITHIN = 0.03  # of their lengths: so far two recordings count as aligned
_PAINT_WEIGHT = 4.0  # which makes it the distance in log10 of power
_AGREE_WEIGHT, _SPREAD_WEIGHT, _ALIKE_WEIGHT = 2.0, 4.0, 1.0
_AGREE_FROM = 0.2  # of the time; till then the weight rises: one code for all would agree, too
_SPREAD = 0.75  # standard deviation wanted of a digit; -1, 0, 1 in equal shares have 0.82
_SPELL_EVERY, _SPELLED = 200, 16  # steps; recordings

LEARNING_RATE = 2e-3


class ChannelNorm(nn.Module):
    """Root-mean-square norm over the channels of [B, C, T] (https://arxiv.org/abs/1910.07467).

    It looks at one frame alone, so a code stays local and knows nothing of the recording's gain.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width, 1))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T] -> [B, C, T]"""
        return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-5) * self.scale


class Block(nn.Module):
    """A residual pair of convolutions, one over time and one over channels."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(width)
        self.over_time = nn.Conv1d(width, width, kernel, padding=kernel // 2)
        self.over_channels = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, C, T] -> [B, C, T]; `mask` [B, 1, T] hides what lies past a recording's end."""
        return x + self.over_channels(F.silu(self.over_time(masked(self.norm(x), mask))))


class SpeechTokenizer(nn.Module):
    """Log-mels at 100 Hz to six values a code; 1.25 M parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(MELS, _WIDTH, 3, stride=2, padding=1)
        self.second = nn.Conv1d(_WIDTH, _WIDTH, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList(Block(_WIDTH, 3) for _ in range(_BLOCKS))
        self.norm = ChannelNorm(_WIDTH)
        self.out = nn.Conv1d(_WIDTH, ACTIVE_DIGITS, 1)
        nn.init.normal_(self.out.weight, std=_WIDTH**-0.5)  # all three digits from the first step

    def forward(self, mel: Tensor, frames: Tensor | None = None) -> Tensor:
        """Values before rounding.

        Args:
            mel: [B, 128, T], zero past a recording's end.
            frames: [B] of each recording; None: all have T.

        Returns:
            [B, 6, ⌈T / 4⌉] in -1 … 1
        """
        count = mel.shape[2]
        at_50_hz = None if frames is None else frame_mask((frames + 1) // 2, (count + 1) // 2)
        at_25_hz = None if frames is None else frame_mask((frames + 3) // 4, (count + 3) // 4)
        x = masked(F.silu(self.first(mel)), at_50_hz)
        x = F.silu(self.second(x))
        for block in self.blocks:
            x = block(x, at_25_hz)
        return torch.tanh(self.out(self.norm(x)))


def rounded(values: Tensor) -> Tensor:
    """-1, 0 or 1 for each value; the gradient passes as if nothing was rounded."""
    return values + (values.round() - values).detach()


def indices_of(values: Tensor) -> Tensor:
    """Codes of values [B, 6, n]: the digits of a number in base 3, lowest first. [B, n] int32"""
    powers = CODE_LEVELS ** torch.arange(ACTIVE_DIGITS, device=values.device, dtype=torch.float32)
    return ((values.float().round() + 1) * powers[:, None]).sum(1).to(torch.int32)


def masked(x: Tensor, mask: Tensor | None) -> Tensor:
    """[B, C, T] with zeros where the mask is; all of it without a mask."""
    return x if mask is None else x * mask


def frame_mask(frames: Tensor, count: int) -> Tensor:
    """1 for the first `frames` [B] of `count`, 0 for the rest. [B, 1, count]"""
    return (torch.arange(count, device=frames.device) < frames[:, None])[:, None].float()


def code_counts(samples: np.ndarray) -> np.ndarray:
    """Codes of recordings of so many samples."""
    return -(-(samples // FRAME_SAMPLES) // CODE_FRAMES)


def log_power_mel(samples: Tensor, lengths: Tensor) -> Tensor:
    """`log_mel_spectrogram` of many recordings, up to its floor.

    Args:
        samples: [B, N] at 16 kHz, -1 … 1.
        lengths: [B] samples of each, more than 200.

    Returns:
        [B, 128, N // 160] log10 of power; past a recording's end it means nothing.
    """
    edge = _N_FFT // 2
    at = torch.arange(-edge, samples.shape[1] + edge, device=samples.device).abs()
    last = lengths[:, None] - 1
    reflected = (last - (last - at).abs()).clamp(min=0)  # [B, N + 400], at each recording's own end
    window = torch.hann_window(_N_FFT, device=samples.device)
    spectrum = torch.stft(
        samples.gather(1, reflected),
        _N_FFT,
        FRAME_SAMPLES,
        window=window,
        center=False,
        return_complex=True,
    )
    power = spectrum[..., :-1].abs() ** 2  # [B, 201, T]
    return (_filters(samples.device) @ power).clamp(min=1e-10).log10()


@cache  # a copy every step would make the device wait
def _filters(where: torch.device) -> Tensor:
    return mel_filterbank(SPEECH_RATE_HZ, _N_FFT, MELS, SPEECH_RATE_HZ / 2).to(where)


def floored(log_power: Tensor, lengths: Tensor) -> Tensor:
    """The rest of `log_mel_spectrogram`: each recording's floor is 8 below its own maximum.

    [B, 128, T] and lengths [B] in samples -> [B, 128, T], zero past a recording's end.
    """
    mask = frame_mask(lengths // FRAME_SAMPLES, log_power.shape[2])
    loudest = log_power.masked_fill(mask == 0, -torch.inf).amax((1, 2), keepdim=True)
    return (torch.maximum(log_power, loudest - 8.0) + 4.0) / 4.0 * mask


def with_noise(samples: Tensor, lengths: Tensor) -> Tensor:
    """White noise over samples [B, N], each at its own signal-to-noise ratio of 15 to 60 dB."""
    energy = samples.square().sum(1) / lengths
    snr_db = torch.empty_like(energy).uniform_(*_SNR_DB)
    return samples + torch.randn_like(samples) * (energy * 10 ** (-snr_db / 10)).sqrt()[:, None]


def equaliser(count: int, where: torch.device) -> Tensor:
    """Random gains and gentle filters, to be added to log10 of power. [count, 128, 1]"""
    bands = torch.linspace(0, 1, MELS, device=where)
    waves = torch.arange(1, 4, device=where)[:, None]
    shapes = (torch.pi * waves * bands).cos() / waves  # [3, 128]
    gain_db = torch.empty(count, 1, device=where).uniform_(-_GAIN_DB, _GAIN_DB)
    filter_db = _TILT_DB * torch.randn(count, 3, device=where) @ shapes
    return ((gain_db + filter_db) / 10)[..., None]


def stretched(x: Tensor, scale: Tensor, count: int) -> Tensor:
    """`count` frames of x [B, C, T], of which frame t is found at t * scale [B]. [B, C, count]"""
    at = (torch.arange(count, device=x.device) + 0.5) * scale[:, None] - 0.5
    at = at.clamp(0, x.shape[2] - 1)
    before = at.long()
    after = (before + 1).clamp(max=x.shape[2] - 1)
    share = (at - before)[:, None]
    low, high = (
        x.gather(2, index[:, None].expand(-1, x.shape[1], -1)) for index in (before, after)
    )
    return low + (high - low) * share


class Alphabet:
    """The letters and digits of sentences, the apostrophe and the space; 0 is CTC's blank."""

    def __init__(self, sentences: Sequence[str]) -> None:
        used = {letter for sentence in sentences for letter in sentence.lower()}
        self.letters = sorted(c for c in used if c.isalnum() or c in " '")
        self._numbers = {letter: index + 1 for index, letter in enumerate(self.letters)}

    def __len__(self) -> int:
        return len(self.letters) + 1

    def numbers(self, sentence: str) -> list[int]:
        """The sentence without its punctuation."""
        return [self._numbers[c] for c in sentence.lower() if c in self._numbers]


class Student(nn.Module):
    """The tokenizer, and beside it the reader and the painter who teach it and then go."""

    def __init__(self, letters: int, speakers: int) -> None:
        super().__init__()
        self.tokenizer = SpeechTokenizer()
        self.reader = _Stack(
            ACTIVE_DIGITS, _READER_WIDTH, _READER_BLOCKS, _READER_KERNEL, _HALVES * letters
        )
        self.speaker = nn.Embedding(speakers, _PAINTER_WIDTH)
        self.pitch = nn.Linear(2, _PAINTER_WIDTH)
        self.painter = _Stack(
            ACTIVE_DIGITS,
            _PAINTER_WIDTH,
            _PAINTER_BLOCKS,
            _PAINTER_KERNEL,
            _HALVES * _PAINTED_BANDS,
        )
        # a blank sheet: the painter learns what all spectra share before it pulls at the codes
        nn.init.zeros_(self.painter.leave.weight)

    def read(self, codes: Tensor, mask: Tensor) -> Tensor:
        """Digits [B, 6, n] of -1, 0, 1 -> log-probabilities [B, 2n, letters]"""
        scores = self.reader(codes, mask).transpose(1, 2).unflatten(2, (_HALVES, -1))
        return scores.flatten(1, 2).float().log_softmax(-1)

    def paint(self, codes: Tensor, mask: Tensor, speaker: Tensor, pitch: Tensor) -> Tensor:
        """Digits [B, 6, n], speakers [B], eSpeak's pitches [B] -> log-mels [B, 64, 2n]"""
        high = pitch / 50 - 1
        voice = self.speaker(speaker) + self.pitch(torch.stack((high, high.square()), -1))
        drawn = self.painter(codes, mask, voice[..., None])  # [B, 2 * 64, n]
        return drawn.unflatten(1, (_PAINTED_BANDS, _HALVES)).transpose(2, 3).flatten(2)


class _Stack(nn.Module):
    """Convolutions from digits to something, under a condition for the whole recording."""

    def __init__(self, inputs: int, width: int, blocks: int, kernel: int, outputs: int) -> None:
        super().__init__()
        self.enter = nn.Conv1d(inputs, width, 1)
        self.blocks = nn.ModuleList(Block(width, kernel) for _ in range(blocks))
        self.norm = ChannelNorm(width)
        self.leave = nn.Conv1d(width, outputs, 1)

    def forward(self, x: Tensor, mask: Tensor, condition: Tensor | None = None) -> Tensor:
        """[B, inputs, n] -> [B, outputs, n], under [B, width, 1]"""
        x = self.enter(x) if condition is None else self.enter(x) + condition
        for block in self.blocks:
            x = block(x, mask)
        return self.leave(self.norm(x))


@dataclass(frozen=True, slots=True)
class Views:
    """A batch of recordings [V = 2B], of which row i + B says the same as row i.

    It is the aligned recording of another speaker or, where there is none, the same one again.
    """

    samples: Tensor  # [V, N] with N a multiple of 640
    lengths: Tensor  # [V] samples
    speaker: Tensor  # [V]
    pitch: Tensor  # [V] float, eSpeak's
    paired: Tensor  # [V] whether by two speakers
    letters: Tensor  # [V, S] padded
    code_counts: Tensor  # [V] on the CPU, where CTC wants its lengths
    letter_counts: Tensor  # [V] on the CPU

    @property
    def other(self) -> Tensor:
        """[V] the row that says the same."""
        rows = torch.arange(len(self.lengths), device=self.lengths.device)
        return rows.roll(len(rows) // 2)


class Classroom:
    """The corpus on the device, as the student sees it."""

    def __init__(self, corpus: Corpus, where: torch.device) -> None:
        self.alphabet = Alphabet(corpus.sentences)
        self.speakers = len(corpus.speakers)
        self.lengths = torch.from_numpy(np.diff(corpus.speech_starts))  # [utterances] on the CPU
        self.partner = torch.from_numpy(aligned_partners(corpus))  # [utterances] on the CPU
        self._bank: Bank = corpus.speech_bank(where)
        self._where = where
        spelled = [self.alphabet.numbers(sentence) for sentence in corpus.sentences]
        self.sentence = torch.tensor([u.sentence for u in corpus.utterances])
        self._letter_counts = torch.tensor([len(row) for row in spelled])
        rows = [torch.tensor(row, dtype=torch.long) for row in spelled]
        self._letters = nn.utils.rnn.pad_sequence(rows, batch_first=True).to(
            where
        )  # [sentences, S]
        self._sentence = self.sentence.to(where)
        self._speaker = torch.tensor([u.speaker for u in corpus.utterances]).to(where)
        self._pitch = torch.tensor([float(u.pitch) for u in corpus.utterances]).to(where)

    def views(self, first: Tensor) -> Views:
        """Utterances `first` [B] and their partners. Nothing here waits for the device."""
        both = torch.cat((first, self.partner[first]))  # on the CPU
        longest = -(-int(self.lengths[both].max()) // CODE_SAMPLES) * CODE_SAMPLES
        letter_counts = self._letter_counts[self.sentence[both]]
        chosen = both.to(self._where, non_blocking=True)
        return Views(
            samples=self._bank.slice(chosen, torch.zeros_like(chosen), longest),
            lengths=self._bank.lengths[chosen],
            speaker=self._speaker[chosen],
            pitch=self._pitch[chosen],
            paired=(self.partner[both] != both).to(self._where, non_blocking=True),
            letters=self._letters[self._sentence[chosen], : int(letter_counts.max())],
            code_counts=torch.from_numpy(code_counts(self.lengths[both].numpy())),
            letter_counts=letter_counts,
        )


def aligned_partners(corpus: Corpus) -> np.ndarray:
    """For each utterance another speaker's of the same sentence, equally long within 3 %.

    Only standard utterances have one; the others are their own. [utterances] int64
    """
    lengths = np.diff(corpus.speech_starts)
    partners = np.arange(len(corpus.utterances))
    waiting: dict[int, int] = {}
    for index, utterance in enumerate(corpus.utterances):
        if utterance.kind != "standard":
            continue
        before = waiting.setdefault(utterance.sentence, index)
        alike = abs(lengths[before] / lengths[index] - 1) <= _PAIRED_WITHIN
        if before != index and alike and partners[before] == before:
            partners[before], partners[index] = index, before
    return partners


def lesson(
    student: Student, views: Views, done: float, *, augmented: bool
) -> tuple[dict[str, Tensor], Tensor]:
    """Losses and measures of a batch, and the reader's log-probabilities [V, 2n, letters].

    `done` is the part of the time that has passed, 0 … 1.
    """
    where = views.samples.device
    with torch.no_grad():
        clean = floored(log_power_mel(views.samples, views.lengths), views.lengths)
        heard = clean
        if augmented:
            noisy = with_noise(views.samples, views.lengths) * _within(views)
            power = log_power_mel(noisy, views.lengths) + equaliser(len(noisy), where)
            heard = floored(power, views.lengths)
    frames = views.lengths // FRAME_SAMPLES
    mask = frame_mask((frames + CODE_FRAMES - 1) // CODE_FRAMES, clean.shape[2] // CODE_FRAMES)
    count = mask.shape[2]
    other = views.other
    with torch.autocast(where.type, torch.bfloat16, enabled=where.type == "cuda"):
        values = student.tokenizer(heard, frames)
        codes = rounded(values) * mask  # [V, 6, n]
        scores = student.read(codes, mask)
        own = torch.rand(len(frames), device=where) < 0.5
        model = torch.where(own, torch.arange(len(frames), device=where), other)
        drawn = student.paint(codes, mask, views.speaker[model], views.pitch[model]).float()
    spelling = F.ctc_loss(
        scores.transpose(0, 1),
        views.letters,
        _HALVES * views.code_counts,
        views.letter_counts,
        zero_infinity=True,  # the fastest speech may have more letters than frames
    )
    scale = views.lengths[model] / views.lengths
    wanted = stretched(F.avg_pool2d(clean[:, None], 2)[:, 0][model], scale, _HALVES * count)
    painting = _mean((drawn - wanted).abs(), frame_mask(frames // 2, _HALVES * count))
    values = values.float()
    scale = views.lengths[other] / views.lengths
    agreement = _mean((values - stretched(values[other], scale, count)).square(), mask)
    spread, alike = lack_of_variety(values, mask)
    losses = {
        "loss": spelling
        + _PAINT_WEIGHT * painting
        + _AGREE_WEIGHT * min(done / _AGREE_FROM, 1.0) * agreement
        + _SPREAD_WEIGHT * spread
        + _ALIKE_WEIGHT * alike,
        "ctc": spelling,
        "painting": painting,
        "agreement": agreement,
        "spread": spread,
        "alike": alike,
    }
    return losses | _measures(values.detach(), mask, views), scores.detach()


def lack_of_variety(values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """How much the digits of values [V, 6, n] lack in spread, and how much they vary together."""
    flat, weight = values.transpose(0, 1).flatten(1), mask.flatten()  # [6, V n], [V n]
    total = weight.sum()
    centred = (flat - (flat * weight).sum(1, keepdim=True) / total) * weight
    covariance = centred @ centred.T / total
    deviation = (covariance.diagonal() + 1e-4).sqrt()
    apart = covariance - covariance.diagonal().diag()
    return F.relu(_SPREAD - deviation).mean(), apart.square().sum() / len(covariance)


def _within(views: Views) -> Tensor:
    """1 within each recording, 0 past its end. [V, N]"""
    return frame_mask(views.lengths, views.samples.shape[1])[:, 0]


def _mean(x: Tensor, mask: Tensor) -> Tensor:
    """Of x [V, C, n] where the mask [V, 1, n] is 1."""
    return (x * mask).sum() / (mask.sum() * x.shape[1]).clamp(min=1)


def _measures(values: Tensor, mask: Tensor, views: Views) -> dict[str, Tensor]:
    codes = indices_of(values)  # [V, n]
    counts = torch.zeros(USED_CODES, device=values.device)
    counts.scatter_add_(0, codes.long().flatten(), mask[:, 0].flatten())
    scale = (views.lengths[views.other] / views.lengths)[:, None]
    at = (torch.arange(codes.shape[1], device=values.device) + 0.5) * scale
    theirs = codes[views.other].gather(1, at.long().clamp(max=codes.shape[1] - 1))
    paired = mask * views.paired[:, None, None]
    return {
        "perplexity": perplexity(counts),
        "used": (counts > 0).float().mean(),
        "same_in_pairs": _mean((codes == theirs)[:, None].float(), paired),
    }


def perplexity(counts: Tensor) -> Tensor:
    """Of the distribution that counts [codes] give: so many equal shares have its entropy."""
    shares = counts / counts.sum()
    return torch.special.entr(shares).sum().exp()


def letter_error_rate(scores: Tensor, views: Views) -> float:
    """Wrong letters over letters when each frame takes its best and no search is made."""
    best = scores.argmax(-1).cpu()
    wrong = total = 0
    for row, count, wanted, letters in zip(
        best.tolist(),
        views.code_counts.tolist(),
        views.letters.tolist(),
        views.letter_counts.tolist(),
        strict=False,  # of a part of the batch
    ):
        row = row[: _HALVES * count]
        read = [n for at, n in enumerate(row) if n and (at == 0 or row[at - 1] != n)]
        wrong += edit_distance(read, wanted[:letters])
        total += letters
    return wrong / max(total, 1)


def main(corpus: Path, out: Path, minutes: float, batch: int) -> None:
    """Train the tokenizer and write `out`/speech_tokenizer.pt.

    Also `speech_tokenizer_report.json`: losses and measures of sentences that were not trained on.

    Args:
        corpus: folder of a `Corpus`.
        out: folder, made if it is missing.
        minutes: of training.
        batch: utterances a step; as many partners come along.
    """
    seed_everything(0)
    where = device()
    room = Classroom(Corpus.open(corpus), where)
    student = Student(len(room.alphabet), room.speakers).to(where)
    first_held_out = held_out_from(int(room.sentence.max()) + 1)
    taught = (room.sentence < first_held_out).nonzero()[:, 0]
    order = batches(room.lengths[taught], batch, torch.Generator().manual_seed(0))

    def losses(step: int, done: float) -> Mapping[str, Tensor]:
        views = room.views(taught[next(order)])
        values, scores = lesson(student, views, done, augmented=True)
        if step % _SPELL_EVERY == 0:
            rate = letter_error_rate(scores[:_SPELLED], views)
            values["letter_errors"] = torch.tensor(rate)
        return values

    recipe = Recipe(minutes=minutes, learning_rate=LEARNING_RATE)
    averaged = train("speech_tokenizer", student, losses, recipe, out)
    # What is stored takes 16 bits a weight: the codes of the corpus must come of the same weights.
    student.load_state_dict({key: value.half().float() for key, value in averaged.items()})
    torch.save(student.tokenizer.state_dict(), out / "speech_tokenizer.pt")
    held_out = (room.sentence >= first_held_out).nonzero()[:, 0]
    report = _examined(student.eval(), room, held_out)
    (out / "speech_tokenizer_report.json").write_text(json.dumps(report, indent=2) + "\n")
    print("speech_tokenizer held out", report, flush=True)


def held_out_from(sentences: int) -> int:
    """The first of so many sentences that is not trained on; one at least is not."""
    return sentences - max(1, math.ceil(HELD_OUT * sentences))


@torch.no_grad()
def _examined(student: Student, room: Classroom, chosen: Tensor) -> dict[str, float]:
    """Mean losses and measures of utterances, and the letter error rate."""
    chosen = chosen[room.lengths[chosen].argsort()]
    sums: dict[str, float] = {}
    for part in chosen.split(64):
        views = room.views(part)
        values, scores = lesson(student, views, 1.0, augmented=False)
        row = {key: float(value) for key, value in values.items()}
        row["letter_errors"] = letter_error_rate(scores, views)
        for key, value in row.items():
            sums[key] = sums.get(key, 0.0) + value * len(part) / len(chosen)
    return {key: round(value, 5) for key, value in sums.items()}


def load(path: Path) -> SpeechTokenizer:
    """The tokenizer that `main` wrote, on the CPU."""
    tokenizer = SpeechTokenizer()
    tokenizer.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return tokenizer.eval()


@torch.no_grad()
def encode_corpus(corpus: Path, out: Path, batch: int) -> None:
    """Codes of all utterances, with `out`/speech_tokenizer.pt.

    Writes `codes.npy` (flat int16), `codes_starts.npy` [utterances + 1] and, of how they are
    spread, `codes_report.json`.
    """
    where = device()
    opened = Corpus.open(corpus)
    tokenizer = load(out / "speech_tokenizer.pt").to(where)
    samples = np.diff(opened.speech_starts)
    starts = np.concatenate(([0], np.cumsum(code_counts(samples))))
    codes = np.zeros(starts[-1], dtype=np.int16)
    bank = opened.speech_bank(where)
    with exact_float32():
        for part in torch.from_numpy(samples).argsort().split(batch):
            heard, lengths = bank.gather(part.to(where), multiple=CODE_SAMPLES)
            mel = floored(log_power_mel(heard, lengths), lengths)
            rows = indices_of(tokenizer(mel, lengths // FRAME_SAMPLES)).cpu().numpy()
            for utterance, row in zip(part.tolist(), rows, strict=True):
                first, last = starts[utterance : utterance + 2]
                codes[first:last] = row[: last - first]
    np.save(out / "codes.npy", codes)
    np.save(out / "codes_starts.npy", starts)
    report = _spread(codes, starts, aligned_partners(opened))
    (out / "codes_report.json").write_text(json.dumps(report, indent=2) + "\n")
    print("codes", report, flush=True)


def _spread(codes: np.ndarray, starts: np.ndarray, partners: np.ndarray) -> dict[str, float]:
    counts = np.bincount(codes, minlength=USED_CODES)
    inner = np.setdiff1d(np.arange(1, len(codes)), starts)  # each code's but an utterance's first
    same = total = 0
    for one, two in enumerate(partners):
        if one < two:
            ours, theirs = (codes[starts[u] : starts[u + 1]] for u in (one, two))
            at = ((np.arange(len(ours)) + 0.5) * len(theirs) / len(ours)).astype(np.int64)
            same += int((ours == theirs[at]).sum())
            total += len(ours)
    return {
        "codes": len(codes),
        "used": round(float((counts > 0).mean()), 4),
        "perplexity": round(float(perplexity(torch.from_numpy(counts).double())), 2),
        "same_as_before": round(float((codes[inner] == codes[inner - 1]).mean()), 4),
        "same_in_pairs": round(same / max(total, 1), 4),
    }


def load_codes(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """What `encode_corpus` wrote: codes [total] int16, starts [utterances + 1] int64."""
    return np.load(folder / "codes.npy"), np.load(folder / "codes_starts.npy")


@contextmanager
def exact_float32() -> Iterator[None]:
    """Convolutions and products without TF32, whose 10 bits would move codes."""
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    products.allow_tf32 = convolutions.allow_tf32 = False
    try:
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before


class _Published(nn.Module):
    """The published model's inputs and output around the tokenizer."""

    def __init__(self, tokenizer: SpeechTokenizer) -> None:
        super().__init__()
        self.tokenizer = tokenizer

    def forward(self, feats: Tensor, feats_length: Tensor) -> Tensor:
        """[1, 128, T], [1] int32 -> [1, ⌈T / 4⌉] int32"""
        return indices_of(self.tokenizer(feats[:, :, : feats_length.long()[0]]))


def export(state_path: Path, onnx_path: Path) -> None:
    """Write the trained tokenizer as `speech_tokenizer_v2_25hz.onnx`."""
    from tests.nano.onnx_export import export_onnx  # the training machine may lack onnx

    example = {
        "feats": torch.zeros(1, MELS, 101),
        "feats_length": torch.tensor([101], dtype=torch.int32),
    }
    dynamic = {"feats": {2: "T"}, "indices": {1: "N"}}
    export_onnx(_Published(load(state_path)), example, "indices", dynamic, onnx_path)
