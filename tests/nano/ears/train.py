"""Trains the ears in slices that go on where the last one stopped.

    python -m tests.nano.ears.train OUT --folder CORPUS=6 --folder OTHER=2 --minutes 6 --span 0 0.5

`OUT/vocabulary.json` holds the text tokens. Shards that are written meanwhile are heard, too.
"""

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from serve_app.checkpoint.tokenizer import make_tokenizer
from tests.nano.ears.check import check
from tests.nano.ears.lessons import Recordings, phoneme_ids
from tests.nano.ears.listener import Listener
from tests.nano.ears.rooms import TRAINING
from tests.nano.ears.vocabulary import load
from tests.nano.training import Recipe, device, seed_everything, train

LEARNING_RATE = 1.5e-3
REFRESH_S = 45.0
_PART_BYTES = 15_500_000  # what one file may have where files travel


def main() -> None:
    """Train for one slice, save the weights and measure them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--folder", action="append", required=True, help="shards=weight")
    parser.add_argument("--held-out", type=Path, help="shards of voices that are held out")
    parser.add_argument("--phonemes", type=Path, required=True, help="vocab.json of hibari-tts")
    parser.add_argument("--minutes", type=float, default=6.0)
    parser.add_argument("--end", type=float, help="of training, in s since 1970: not --minutes")
    parser.add_argument("--seconds", type=float, default=1200.0, help="of sound in a batch")
    parser.add_argument("--span", type=float, nargs=2, default=(0.0, 1.0))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="measure less")
    parser.add_argument("--check-only", action="store_true", help="measure weights that lie there")
    args = parser.parse_args()
    seed_everything(args.seed)
    vocabulary = load(args.out / "vocabulary.json")
    tokenizer = make_tokenizer(vocabulary)
    phonemes = phoneme_ids(args.phonemes)
    model = Listener(vocabulary).to(device())
    weights = args.out / "ears.pt"
    if weights.exists():
        model.load_state_dict(joined(weights))
    if not args.check_only:
        folders = dict(_weighted(text) for text in args.folder)
        recordings = Recordings(folders, tokenizer, phonemes, device())
        print("hours", recordings.hours_by_folder(), flush=True)
        minutes = max((args.end - time.time()) / 60, 0.05) if args.end else args.minutes
        recipe = Recipe(
            minutes=minutes, learning_rate=LEARNING_RATE, span=tuple(args.span), seed=args.seed
        )
        losses = _Losses(model, recordings, args.seconds, args.seed)
        model.load_state_dict(train("ears", model, losses, recipe, args.out))
        split({key: value.half() for key, value in model.state_dict().items()}, weights)
        print("heard hours", recordings.hours_by_folder(), flush=True)
    if args.held_out:
        unheard = Recordings({args.held_out: 1.0}, tokenizer, phonemes, device())
        figures = check(model.eval(), unheard, tokenizer, quick=args.quick)
        path = args.out / "ears_check.json"
        path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        for name in ("wer", "without_decoder"):
            print(name, json.dumps(figures[name]), flush=True)


class _Losses:
    """A batch and its losses, a step; called by the loop."""

    def __init__(self, model: Listener, recordings: Recordings, seconds: float, seed: int) -> None:
        self._model = model
        self._recordings = recordings
        self._rng = np.random.default_rng([seed, int(time.time())])
        self._batches = recordings.batches(seconds, self._rng)
        self._refreshed = time.monotonic()

    def __call__(self, step: int, done: float) -> Mapping[str, Tensor]:
        if time.monotonic() - self._refreshed > REFRESH_S:
            if self._recordings.refresh():
                print(f"now {self._recordings.hours:.2f} h", flush=True)
            self._refreshed = time.monotonic()
        lesson, mels, frames = self._recordings.draw(next(self._batches), self._rng, TRAINING)
        return self._model.losses(lesson, mels, frames)


def split(state: Mapping[str, Tensor], path: Path) -> None:
    """Save a state dict as `path` and, where it is too large to travel, `path.1`, `path.2`, …"""
    part: dict[str, Tensor] = {}
    size, number = 0, 0
    for key, value in state.items():
        if size and size + value.nbytes > _PART_BYTES:
            torch.save(part, path if number == 0 else path.with_name(f"{path.name}.{number}"))
            part, size, number = {}, 0, number + 1
        part[key] = value.detach().cpu().clone()
        size += value.nbytes
    torch.save(part, path if number == 0 else path.with_name(f"{path.name}.{number}"))


def joined(path: Path) -> dict[str, Tensor]:
    """What `split` saved, in float32."""
    state: dict[str, Tensor] = {}
    for part in (path, *sorted(path.parent.glob(f"{path.name}.*"))):
        state |= torch.load(part, map_location="cpu", weights_only=True)
    return {key: value.float() for key, value in state.items()}


def _weighted(text: str) -> tuple[Path, float]:
    folder, _, weight = text.rpartition("=")
    return Path(folder), float(weight)


if __name__ == "__main__":
    main()
