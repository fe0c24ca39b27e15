"""The codes of all of the corpus, as the server's speech tokenizer gives them, and their spread."""

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tests.nano.corpus.store import Corpus
from tests.nano.sizes import USED_CODES
from tests.nano.speech_tokenizer_examples import aligned_partners
from tests.nano.speech_tokenizer_network import CODE_SAMPLES, code_counts, hear, indices_of, load
from tests.nano.training import device, exact_float32


@torch.no_grad()
def encode_corpus(corpus: Path, out: Path, batch: int) -> None:
    """Codes of all utterances, with `out`/speech_tokenizer.pt.

    Writes `codes.npy` (flat int16), `codes_starts.npy` [utterances + 1] and, of how they are
    spread, `codes_report.json`.
    """
    where = device()
    opened = Corpus.open(corpus)
    tokenizer = load(out / "speech_tokenizer.pt").to(where)
    counts = np.diff(opened.speech_starts)
    starts = np.concatenate(([0], np.cumsum(code_counts(counts))))
    codes = np.zeros(starts[-1], dtype=np.int16)
    bank = opened.speech_bank(where)
    with exact_float32():
        for part in torch.from_numpy(counts).argsort().split(batch):
            samples, lengths = bank.gather(part.to(where), multiple=CODE_SAMPLES)
            rows = indices_of(tokenizer(*hear(samples, lengths))).cpu().numpy()
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


def perplexity(counts: Tensor) -> Tensor:
    """Of the distribution that counts [codes] give: so many equal shares have its entropy."""
    shares = counts / counts.sum()
    return torch.special.entr(shares).sum().exp()


def load_codes(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """What `encode_corpus` wrote: codes [total] int16, starts [utterances + 1] int64."""
    return np.load(folder / "codes.npy"), np.load(folder / "codes_starts.npy")
