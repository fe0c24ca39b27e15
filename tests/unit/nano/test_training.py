"""The training loop: its clock, its schedule, what it keeps and what it writes."""

import csv
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from tests.nano import training
from tests.nano.training import Recipe, learning_rate, train

RECIPE = Recipe(minutes=2, learning_rate=0.1, average=0.9, log_every_s=10)


class Toy(nn.Module):
    """A line to be fitted, a step a second, and a count that is no number to be averaged."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.clock_s = 0.0
        self.line = nn.Linear(4, 1)
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    def losses(self, step: int, done: float) -> Mapping[str, Tensor]:
        self.clock_s += 1
        self.batches += 1
        inputs = torch.randn(32, 4)
        error = self.line(inputs)[:, 0] - inputs.sum(1) - 3
        values = {"loss": error.square().mean(), "distance": error.abs().mean()}
        return values | ({"sometimes": torch.tensor(2.0)} if step == 1 else {})


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Toy:
    """One by whose clock training goes."""
    toy = Toy()
    monkeypatch.setattr(training, "time", SimpleNamespace(monotonic=lambda: toy.clock_s))
    return toy


def test_the_learning_rate_rises_then_falls_to_a_hundredth() -> None:
    recipe = replace(RECIPE, warmup=0.1)
    rates = [learning_rate(recipe, done / 1000) for done in range(1001)]
    assert all(0 < rate <= recipe.learning_rate for rate in rates)
    assert all(one < two for one, two in pairwise(rates[:101]))
    assert rates[100] == pytest.approx(recipe.learning_rate)
    assert all(one > two for one, two in pairwise(rates[100:]))
    assert rates[-1] == pytest.approx(recipe.learning_rate / 100)
    assert learning_rate(recipe, 1.5) == pytest.approx(rates[-1])  # a last step that took too long


def test_training_ends_with_the_step_in_which_its_time_is_over(toy: Toy, tmp_path: Path) -> None:
    told = []

    def losses(step: int, done: float) -> Mapping[str, Tensor]:
        told.append((step, done))
        return toy.losses(step, done)

    train("toy", toy, losses, replace(RECIPE, minutes=0.51), tmp_path)  # 30.6 s
    assert [step for step, _ in told] == list(range(31))
    assert [done for _, done in told] == pytest.approx([second / 30.6 for second in range(31)])


def test_a_time_that_is_over_at_once_still_makes_a_step(toy: Toy, tmp_path: Path) -> None:
    train("toy", toy, toy.losses, replace(RECIPE, minutes=1e-9), tmp_path)
    assert json.loads((tmp_path / "toy.json").read_text())["steps"] == 1


def test_training_lowers_the_loss(toy: Toy, tmp_path: Path) -> None:
    before = toy.losses(0, 0.0)["loss"].item()
    train("toy", toy, toy.losses, RECIPE, tmp_path)
    assert toy.losses(0, 0.0)["loss"].item() < before / 10


def test_what_is_returned_is_the_moving_average_of_the_weights(toy: Toy, tmp_path: Path) -> None:
    weights = [toy.line.weight.detach().clone()]

    def losses(step: int, done: float) -> Mapping[str, Tensor]:
        if step:
            weights.append(toy.line.weight.detach().clone())
        return toy.losses(step, done)

    kept = train("toy", toy, losses, replace(RECIPE, average=0.5), tmp_path)
    weights.append(toy.line.weight.detach().clone())
    expected = weights[0]
    for update, live in enumerate(weights[1:], start=1):
        decay = min(0.5, (1 + update) / (10 + update))
        expected = decay * expected + (1 - decay) * live
    assert torch.allclose(kept["line.weight"], expected, atol=1e-5)
    assert not torch.equal(kept["line.weight"], toy.line.weight)
    assert kept.keys() == toy.state_dict().keys()
    assert kept["batches"].dtype == torch.int64 and kept["batches"] == toy.batches


def test_the_table_has_every_loss_and_ends_with_the_last_step(toy: Toy, tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    train("toy", toy, toy.losses, RECIPE, out)
    with (out / "toy_losses.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {*rows[0]} == {"seconds", "step", "loss", "distance", "sometimes", "gradient_norm"}
    assert float(rows[0]["sometimes"]) == 2.0  # the mean of the steps that had it
    assert rows[-1]["sometimes"] == ""
    assert [int(row["step"]) for row in rows] == list(range(10, 121, 10))
    assert all(math.isfinite(float(row["loss"])) for row in rows)
    summary = json.loads((out / "toy.json").read_text())
    assert summary["part"] == "toy"
    assert summary["steps"] == int(toy.batches) == 120
    assert summary["minutes"] == 2.0
    assert summary["last"]["loss"] == float(rows[-1]["loss"])


def test_a_later_span_goes_on_where_the_first_one_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = Toy()
    monkeypatch.setattr(training, "time", SimpleNamespace(monotonic=lambda: toy.clock_s))
    first = replace(RECIPE, minutes=1, span=(0.0, 0.5))
    train("toy", toy, toy.losses, first, tmp_path)
    weights = {key: value.clone() for key, value in toy.state_dict().items()}
    rows = len(_table(tmp_path))

    begun = toy.clock_s
    toy.load_state_dict(Toy().state_dict())  # a new process knows nothing
    toy.clock_s = begun
    rates: list[float] = []
    monkeypatch.setattr(
        training, "learning_rate", lambda _, done: rates.append(done) or learning_rate(RECIPE, done)
    )
    seen: list[dict[str, Tensor]] = []

    def losses(step: int, done: float) -> Mapping[str, Tensor]:
        if not seen:
            seen.append({key: value.clone() for key, value in toy.state_dict().items()})
        return toy.losses(step, done)

    train("toy", toy, losses, replace(RECIPE, minutes=1, span=(0.5, 1.0)), tmp_path)
    assert all(torch.equal(seen[0][key], value) for key, value in weights.items())
    assert rates[0] == 0.5 and 0.9 < rates[-1] < 1.0
    table = _table(tmp_path)
    assert len(table) > rows
    steps = [int(row["step"]) for row in table]
    seconds = [float(row["seconds"]) for row in table]
    assert steps == sorted(steps) and seconds == sorted(seconds)


def _table(out: Path) -> list[dict[str, str]]:
    with (out / "toy_losses.csv").open(newline="") as file:
        return list(csv.DictReader(file))
