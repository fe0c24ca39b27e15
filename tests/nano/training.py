"""One training loop for all of nano's parts: seeded, within a budget of minutes, with its losses.

The learning rate follows the clock, not the steps: a slower machine trains less, never longer.
"""

import csv
import json
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

HELD_OUT = 0.02  # of the sentences, the last ones: never heard by the two small encoders


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one part is trained."""

    minutes: float
    learning_rate: float
    warmup: float = 0.03  # of the time; then a cosine down to a hundredth
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.98)
    clip: float = 1.0  # of the gradients' norm
    average: float = 0.999  # decay of the weights' moving average, which is what is kept
    seed: int = 0
    log_every_s: float = 5.0
    # The part of the whole training that this run is, 0 … 1; a run that begins later goes on with
    # the weights and the state of the one before.
    span: tuple[float, float] = (0.0, 1.0)


def learning_rate(recipe: Recipe, done: float) -> float:
    """At `done`, 0 … 1 of the time: linear warm-up, then a cosine to a hundredth."""
    if done < recipe.warmup:
        return recipe.learning_rate * max(done / recipe.warmup, 1e-3)
    rest = (done - recipe.warmup) / (1 - recipe.warmup)
    return recipe.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(rest, 1.0))))


def train(
    name: str,
    module: nn.Module,
    losses: Callable[[int, float], Mapping[str, Tensor]],
    recipe: Recipe,
    out: Path,
) -> dict[str, Tensor]:
    """Minimise `losses(step, done)["loss"]` over the parameters of `module` for the minutes given.

    Args:
        name: of the part; names its table.
        module: trained in place; its parameters decide where things happen.
        losses: makes a batch and its losses: scalars, of which "loss" is minimised and all are
            logged. `done` is the part of the time that has passed, 0 … 1.
        recipe: how.
        out: folder of `<name>_losses.csv` and `<name>.json` (steps, minutes, last losses), and of
            `<name>_state.pt`, with which a later span goes on.

    Returns:
        The averaged state dict, on the CPU, in float32.
    """
    out.mkdir(parents=True, exist_ok=True)
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters,
        lr=recipe.learning_rate,
        betas=recipe.betas,
        weight_decay=recipe.weight_decay,
        fused=parameters[0].is_cuda,
    )
    first, last = recipe.span
    state = out / f"{name}_state.pt"
    step = _resume(state, module, optimizer) if first > 0 else 0
    average = _Average(module, recipe.average)
    log = _Log(name, out, keep=first > 0)
    begin = time.monotonic()
    done, last_logged = first, begin
    while done < last:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe, done)
        values = losses(step, done)
        optimizer.zero_grad(set_to_none=True)
        values["loss"].backward()
        norm = nn.utils.clip_grad_norm_(parameters, recipe.clip)
        optimizer.step()
        average.update()
        log.add({**values, "gradient_norm": norm})
        step += 1
        now = time.monotonic()
        done = first + (last - first) * (now - begin) / (60 * recipe.minutes)
        if now - last_logged >= recipe.log_every_s or done >= last:
            log.write(step, now - begin)
            last_logged = now
    log.close(step, (time.monotonic() - begin) / 60)
    if last < 1:
        torch.save(
            {"module": module.state_dict(), "optimizer": optimizer.state_dict(), "step": step},
            state,
        )
    return average.state_dict()


def _resume(state: Path, module: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """The steps that were done. Without a state, the module's weights are where it goes on."""
    if not state.exists():
        return 0
    kept = torch.load(state, map_location="cpu", weights_only=True)
    module.load_state_dict(kept["module"])
    optimizer.load_state_dict(kept["optimizer"])
    return int(kept["step"])


def seed_everything(seed: int) -> None:
    """Seed torch's generators; what draws with NumPy takes a generator of its own."""
    torch.manual_seed(seed)


def device() -> torch.device:
    """Where training happens: the GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


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


def held_out_from(sentences: int) -> int:
    """The first of so many sentences that is not trained on; one at least is not."""
    return sentences - max(1, math.ceil(HELD_OUT * sentences))


class _Average:
    """An exponential moving average of a module's weights; young averages move faster."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._module = module
        self._decay = decay
        self._updates = 0
        self._names, live = _floats(module)
        self._kept = [value.detach().clone() for value in live]

    @torch.no_grad()
    def update(self) -> None:
        self._updates += 1
        decay = min(self._decay, (1 + self._updates) / (10 + self._updates))
        _, live = _floats(self._module)
        torch._foreach_lerp_(self._kept, live, 1 - decay)

    def state_dict(self) -> dict[str, Tensor]:
        averaged = dict(zip(self._names, self._kept, strict=True))
        state = self._module.state_dict()
        return {key: averaged.get(key, value).detach().cpu() for key, value in state.items()}


def _floats(module: nn.Module) -> tuple[list[str], list[Tensor]]:
    pairs = [(k, v) for k, v in module.state_dict().items() if v.is_floating_point()]
    return [k for k, _ in pairs], [v for _, v in pairs]


class _Log:
    """Means of the losses between two lines, as a table on the screen and a CSV."""

    def __init__(self, name: str, out: Path, *, keep: bool = False) -> None:
        """`keep` goes on with the table that lies there."""
        self._name = name
        self._out = out
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = defaultdict(int)
        self._rows: list[dict[str, float]] = _rows_of(out / f"{name}_losses.csv") if keep else []
        self._before_s = self._rows[-1]["seconds"] if self._rows else 0.0

    def add(self, values: Mapping[str, Tensor]) -> None:
        for key, value in values.items():
            value = value.detach()
            self._sums[key] = self._sums[key] + value if key in self._sums else value
            self._counts[key] += 1

    def write(self, step: int, seconds: float) -> None:
        row = {"seconds": round(self._before_s + seconds, 1), "step": step}
        row |= {
            key: round(float(total) / self._counts[key], 5) for key, total in self._sums.items()
        }
        self._sums, self._counts = {}, defaultdict(int)
        self._rows.append(row)
        print(self._name, *(f"{key} {value:g}" for key, value in row.items()), flush=True)
        with (self._out / f"{self._name}_losses.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=_keys(self._rows))
            writer.writeheader()
            writer.writerows(self._rows)

    def close(self, step: int, minutes: float) -> None:
        summary = {"part": self._name, "steps": step, "minutes": round(minutes, 2)}
        path = self._out / f"{self._name}.json"
        path.write_text(json.dumps({**summary, "last": self._rows[-1]}, indent=2) + "\n")


def _rows_of(path: Path) -> list[dict[str, float]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        rows = [{key: float(v) for key, v in row.items() if v} for row in csv.DictReader(file)]
    return [{**row, "step": int(row["step"])} for row in rows]


def _keys(rows: Iterable[Mapping[str, float]]) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row))
