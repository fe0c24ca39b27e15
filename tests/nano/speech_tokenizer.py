"""Teaches nano's speech tokenizer: 16 kHz speech in, 25 codes a second out.

What a code must keep is what was said: a reader spells the sentence from the values (CTC,
A. Graves et al., ICML 2006). What it may leave out is who said it: a painter, told the speaker and
the pitch, draws the spectrum, every other time that of another speaker who says the same. Two who
say the same shall have the same codes, which alone would make all codes one: so each digit must
vary, and not as another does (A. Bardes et al., VICReg, https://arxiv.org/abs/2105.04906).
"""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from serve_app.commands.word_error_rate import edit_distance
from tests.nano.augmentation import equaliser, with_noise
from tests.nano.codes import perplexity
from tests.nano.corpus.store import Corpus, batches
from tests.nano.layers import frame_mask
from tests.nano.sizes import USED_CODES
from tests.nano.speech_tokenizer_examples import Classroom, Views
from tests.nano.speech_tokenizer_network import CODE_FRAMES, hear, indices_of, rounded
from tests.nano.speech_tokenizer_teachers import HALVES, Student
from tests.nano.training import Recipe, device, held_out_from, seed_everything, train

_PAINT_WEIGHT = 4.0  # which makes it the distance in log10 of power
_AGREE_WEIGHT, _SPREAD_WEIGHT, _ALIKE_WEIGHT = 2.0, 4.0, 1.0
_AGREE_FROM = 0.2  # of the time; till then the weight rises: one code for all would agree, too
_SPREAD = 0.75  # standard deviation wanted of a digit; -1, 0, 1 in equal shares have 0.82
_SPELL_EVERY, _SPELLED = 200, 16  # steps; recordings

LEARNING_RATE = 2e-3


def lesson(
    student: Student, views: Views, done: float, *, augmented: bool
) -> tuple[dict[str, Tensor], Tensor]:
    """Losses and measures of a batch, and the reader's log-probabilities [V, 2n, letters].

    `done` is the part of the time that has passed, 0 … 1.
    """
    where = views.samples.device
    with torch.no_grad():
        clean, frames = hear(views.samples, views.lengths)
        heard = clean
        if augmented:
            noisy = with_noise(views.samples, views.lengths)
            heard, _ = hear(noisy, views.lengths, equaliser(len(noisy), where))
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
        HALVES * views.code_counts,
        views.letter_counts,
        zero_infinity=True,  # the fastest speech may have more letters than frames
    )
    scale = views.lengths[model] / views.lengths
    wanted = stretched(F.avg_pool2d(clean[:, None], 2)[:, 0][model], scale, HALVES * count)
    painting = _mean((drawn - wanted).abs(), frame_mask(frames // 2, HALVES * count))
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
        row = row[: HALVES * count]
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
