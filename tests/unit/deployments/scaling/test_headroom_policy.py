"""When stages grow and shrink: pure decisions, and a simulated day against an oracle's."""

import math
import random
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise

import pytest

from deployments.scaling.headroom_policy import HeadroomPolicy, Scaling, Stage

TICK_S = 10.0
DAY_S = 86_400
WARM_AFTER_S = 150.0  # Token2Wav on an H200, weights read anew


def stage(
    *loads: float, warm: int | None = None, target: int | None = None, **bounds: int
) -> Stage:
    warm = len(loads) if warm is None else warm
    target = warm if target is None else target
    return Stage({str(i): load for i, load in enumerate(loads)}, warm, target, **bounds)


def decided(policy: HeadroomPolicy, now: Stage, at_s: float, offered: float = 1.0) -> int:
    return policy.decide({"a": now}, offered, at_s)["a"]


def steady(policy: HeadroomPolicy, now: Stage, for_s: float, offered: float = 1.0) -> int:
    """The last decision, after that time."""
    wanted = now.target
    for tick in range(int(for_s)):
        wanted = decided(policy, now, float(tick), offered)
    return wanted


def test_a_stage_has_what_its_work_needs() -> None:
    assert steady(HeadroomPolicy(), stage(0.8, 0.8), 120) == 2
    assert steady(HeadroomPolicy(), stage(0.96, 0.96), 120) == 3
    assert steady(HeadroomPolicy(), stage(1.2, 1.2), 120) == 3  # below 0 there is no headroom


def test_what_was_refused_counts_for_every_stage() -> None:
    stages = {"Thinker": stage(0.5), "Token2Wav": stage(1.0)}
    policy = HeadroomPolicy()
    for tick in range(5):
        wanted = policy.decide(stages, 3.0, float(tick))
    assert wanted == {"Thinker": 2, "Token2Wav": 4}


def test_a_burst_of_a_second_changes_nothing_and_one_of_some_seconds_does() -> None:
    policy = HeadroomPolicy()
    assert steady(policy, stage(0.5, 0.5), 60) == 2
    assert decided(policy, stage(1.0, 1.0), 60.0) == 2
    assert [decided(policy, stage(1.0, 1.0), 60.0 + tick, offered=2.0) for tick in (1, 2)][-1] > 2


def test_a_stage_grows_no_further_than_its_warm_replicas_have_shown() -> None:
    policy = HeadroomPolicy()
    assert steady(policy, stage(1.0), 10, offered=50.0) == 4
    assert steady(policy, stage(1.0, target=4), 10, offered=50.0) == 4  # three are starting
    assert steady(HeadroomPolicy(), stage(1.0, 1.0, target=4), 10, offered=50.0) == 8


def test_nothing_known_is_not_nothing_to_do() -> None:
    assert steady(HeadroomPolicy(), stage(warm=3), 2000) == 3


def test_no_replica_is_taken_while_one_does_not_report() -> None:
    assert steady(HeadroomPolicy(), stage(0.1, 0.1, warm=3), 2000) == 3
    assert steady(HeadroomPolicy(), stage(0.1, 0.1, 0.1), 2000) == 1


def test_a_stage_shrinks_once_ten_minutes_needed_less() -> None:
    policy, quiet = HeadroomPolicy(), stage(0.2, 0.2, 0.2)
    assert steady(policy, stage(0.8, 0.8, 0.8), 60) == 3
    after = [decided(policy, quiet, 60.0 + tick) for tick in range(700)]
    assert after[500] == 3
    assert after[-1] == 1


def changed(policy: HeadroomPolicy, now: Stage, from_s: float, for_s: float) -> list[float]:
    """When a decision was below the target."""
    ticks = (from_s + tick for tick in range(int(for_s)))
    return [at_s for at_s in ticks if decided(policy, now, at_s) < now.target]


def test_a_stage_that_grew_shrinks_once_a_whole_hour_needed_less() -> None:
    policy = HeadroomPolicy()
    assert steady(policy, stage(0.98, 0.98), 5) == 3
    first, *_ = changed(policy, stage(0.2, 0.2, 0.2), 5.0, 4000)
    assert first == pytest.approx(3600, abs=120)


def turned_down(policy: HeadroomPolicy) -> float:
    """When a stage that has grown to 3 replicas shrinks to 2."""
    steady(policy, stage(0.98, 0.98), 5)
    return changed(policy, stage(0.3, 0.3, 0.3), 5.0, 4000)[0]


def test_a_stage_that_has_only_begun_to_shrink_still_keeps_what_an_hour_needed() -> None:
    policy = HeadroomPolicy()
    turned_s = turned_down(policy)
    first, *_ = changed(policy, stage(0.1, 0.1), turned_s + 1, 4000)
    assert first - turned_s == pytest.approx(3600, abs=1)


def test_a_stage_that_has_shrunk_for_an_hour_goes_on_after_ten_minutes() -> None:
    policy = HeadroomPolicy()
    turned_s = turned_down(policy)
    assert changed(policy, stage(0.5, 0.5), turned_s + 1, 3600) == []
    first, *_ = changed(policy, stage(0.1, 0.1), turned_s + 3601, 700)
    assert first - turned_s - 3600 == pytest.approx(600, abs=90)


def test_a_stage_that_would_be_nearly_full_with_one_less_keeps_it() -> None:
    assert steady(HeadroomPolicy(), stage(0.58, 0.58, 0.58), 2000) == 3  # 0.87 with two of them
    assert steady(HeadroomPolicy(), stage(0.53, 0.53, 0.53), 2000) == 2


def test_bounds_hold() -> None:
    assert steady(HeadroomPolicy(), stage(1.5, 1.5, most=2), 120) == 2
    assert steady(HeadroomPolicy(), stage(0.0, 0.0, least=2), 2000) == 2


@dataclass
class Day:
    """Replicas that take what there is, up to what they can; the rest is refused."""

    policy: HeadroomPolicy = field(default_factory=HeadroomPolicy)
    warm: int = 3
    target: int = 3
    starting: list[float] = field(default_factory=list)  # when each will be warm
    replica_s: float = 0.0
    oracle_s: float = 0.0
    refused: float = 0.0
    asked: float = 0.0
    changes: list[tuple[float, int]] = field(default_factory=list)

    def pass_tick(self, now_s: float, demand: float) -> None:
        self.warm += sum(at_s <= now_s for at_s in self.starting)
        self.starting = [at_s for at_s in self.starting if at_s > now_s]
        done = min(demand, float(self.warm))
        self.asked += demand
        self.refused += demand - done
        now = Stage({str(i): done / self.warm for i in range(self.warm)}, self.warm, self.target)
        wanted = self.policy.decide({"a": now}, demand / done, now_s)["a"]
        self._change(wanted, now_s)
        self.replica_s += TICK_S * (self.warm + len(self.starting))

    def _change(self, wanted: int, now_s: float) -> None:
        if wanted != self.target:
            self.changes.append((now_s, wanted - self.target))
        self.starting += [now_s + WARM_AFTER_S] * max(0, wanted - self.target)
        for _ in range(self.target - wanted):
            if self.starting:
                self.starting.pop()
            else:
                self.warm -= 1
        self.target = wanted

    @property
    def turned_s(self) -> list[float]:
        """When the direction was another than at the change before."""
        return [at_s for (_, one), (at_s, other) in pairwise(self.changes) if one * other < 0]

    @property
    def most_turns_in_an_hour(self) -> int:
        """In any hour, whenever it begins."""
        turned = self.turned_s
        return max((sum(at_s - 3600 < one <= at_s for one in turned) for at_s in turned), default=0)

    @property
    def of_the_oracles(self) -> float:
        """The hours that replicas ran, GPUs held by those that start among them."""
        return self.replica_s / self.oracle_s

    @property
    def refused_share(self) -> float:
        return self.refused / self.asked


@cache
def simulated(
    noise: float, swing: float, shaken_s: float = TICK_S, mean: float = 10.0, seed: int = 7
) -> Day:
    """A day of `mean` replicas' work: between night and evening it is `swing` less and more.

    Every `shaken_s` it is another share of up to `noise` more or less.
    """
    day, draw = Day(warm=math.ceil(mean), target=math.ceil(mean)), random.Random(seed)
    demands: list[float] = []
    for tick in range(int(DAY_S / TICK_S)):
        if tick % round(shaken_s / TICK_S) == 0:
            shake = draw.uniform(-noise, noise)
        part = 2 * math.pi * tick * TICK_S / DAY_S
        demands.append(mean * (1 - swing * math.cos(part)) * (1 + shake))
    for tick, demand in enumerate(demands):
        day.pass_tick(tick * TICK_S, demand)
    day.oracle_s = oracle_s(demands)
    return day


def oracle_s(demands: list[float]) -> float:
    """Of replicas, by one who knows the future, but whose replicas take as long to start.

    One that is needed again before another would be warm is kept.
    """
    reach = int(WARM_AFTER_S / TICK_S)
    windows = (demands[max(0, tick - reach) : tick + reach] for tick in range(len(demands)))
    return sum(TICK_S * math.ceil(max(window)) for window in windows)


@pytest.mark.parametrize("mean", [3.0, 10.0])
def test_without_noise_a_day_has_one_rise_and_one_fall(mean) -> None:
    day = simulated(noise=0.0, swing=0.7, mean=mean)
    assert len(day.turned_s) <= 2
    assert day.of_the_oracles <= 1.15
    assert day.refused == 0


@pytest.mark.parametrize("shaken_s", [TICK_S, 30.0, 60.0])
@pytest.mark.parametrize("swing", [0.0, 0.7])
@pytest.mark.parametrize(("mean", "seed"), [(3.0, 7), (10.0, 8), (30.0, 9)])
def test_noise_of_20_per_cent(mean, seed, swing, shaken_s) -> None:
    """Less than two turns in any hour, and at most 1.15 times an oracle's replica hours."""
    day = simulated(0.2, swing, shaken_s, mean, seed)
    assert day.most_turns_in_an_hour < 2
    assert day.of_the_oracles <= 1.15
    assert day.refused_share <= 0.001


def test_where_a_level_stays_for_minutes_it_turns_as_seldom_and_costs_more_than_the_goal() -> None:
    """That is load more than noise: docs/autoscaling.md says how much it costs."""
    day = simulated(0.2, swing=0.7, shaken_s=300.0)
    assert day.most_turns_in_an_hour < 2
    assert 1.15 < day.of_the_oracles <= 1.25
    assert day.refused_share <= 0.001


def test_its_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="load"):
        Scaling(load=1.5)
