"""Every point at which a stream can break, by every kind of fault: exact, or an error."""

import itertools
from dataclasses import replace
from typing import Any

import pytest

from deployments.errors import EngineFailed
from deployments.messages import NextPart, SpeechRequest, ThinkerRequest
from deployments.resume import SpokenProgress, Tries
from tests.unit.deployments.resume.chained import everything
from tests.unit.deployments.resume.explored import Explored
from tests.unit.deployments.resume.world import (
    BREAKS,
    DISORDERS,
    HANGS,
    LOOP,
    STAGES,
    Fault,
    Stage,
    Undisturbed,
    World,
    by_chance,
    one_run,
    speech,
)

TOKENS = 26
FEW_TOKENS = 12  # three messages of each stage
RUNS = 500  # `make schedules`, which `make test` runs too, has 100 000
LATE = 3  # messages of a stage that come again, or come first, after a first fault
FOUND_S = 3.0  # a replica that hangs


def places(expected: Undisturbed, more: int = 0) -> list[tuple[Stage, int]]:
    counts = expected.messages
    return [(stage, number) for stage in STAGES for number in range(counts[stage] + more)]


def require_all_exact(expected: Undisturbed) -> None:
    """Whatever breaks once, wherever it is, the answer is exact; out of order it is an error."""
    for (stage, number), kind in itertools.product(places(expected), (*BREAKS, *DISORDERS)):
        world = expected.run((Fault(stage, number, kind),))
        assert world.happened == [kind]


def require_patience(expected: Undisturbed) -> None:
    """Who is slow is waited for: longer than a hang takes to be found, and than patience lasts.

    So is a replica that makes again what another one lost. A slow listener loses nothing either.
    """
    for stage, number in places(expected):
        slow = Fault(stage, number, "slow", 60.0)
        assert not expected.run((slow,)).losses
        again = Fault(stage, number + 1, "slow", 60.0)
        assert expected.run((Fault(stage, number, "error"), again)).losses == 1
    for number in range(1, expected.messages["Token2Wav"]):
        slow = Fault("listener", number, "slow", 600.0)
        assert not expected.run((slow,)).losses
        assert not expected.run((slow, Fault("Token2Wav", number, "slow", 60.0))).losses
        hang = Fault("Token2Wav", number + 2, "hang")
        assert expected.run((slow, hang)).losses <= 1


def require_pairs_exact(expected: Undisturbed, kinds: tuple[str, ...]) -> None:
    """Two faults: of one stage or both, also while the answer is made again."""
    pairs = itertools.combinations(places(expected, LATE), 2)
    for (one, other), first, second in itertools.product(pairs, kinds, kinds):
        expected.run((Fault(*one, first), Fault(*other, second)))


def require_exact_at_random(expected: Undisturbed, seeds: range) -> int:
    """Gives how many runs differ: one whose faults happened in an earlier one is not repeated."""
    explored = Explored()
    for seed in seeds:
        faults = by_chance(seed, expected)
        if explored.has(faults):
            continue
        try:
            explored.add(expected.run(faults).asked)
        except BaseException:
            print(f"replay: python -m tests.benchmarks.run_schedules --seed {seed}")
            raise
    return len(explored)


@pytest.mark.parametrize("parts", [1, 3])
def test_a_stream_that_breaks_once_anywhere_is_exact(parts: int) -> None:
    require_all_exact(Undisturbed(parts))


def test_a_stream_that_breaks_twice_anywhere_is_exact() -> None:
    expected = Undisturbed(tokens=FEW_TOKENS)
    require_pairs_exact(expected, ("error", "hang", "late zombie", "duplicate"))


def test_a_stream_with_faults_by_chance_is_exact_or_ends_with_an_error() -> None:
    require_exact_at_random(Undisturbed(tokens=FEW_TOKENS), range(RUNS))


def test_runs_that_are_not_repeated_are_those_whose_faults_happened_before() -> None:
    expected, explored = Undisturbed(tokens=FEW_TOKENS), Explored()
    answers: dict[tuple[Fault, ...], Any] = {}
    for seed in range(RUNS):
        faults = by_chance(seed, expected)
        is_known = explored.has(faults)
        world, answer = one_run(faults, tokens=FEW_TOKENS)
        explored.add(world.asked)
        happened = tuple(fault for _, fault in world.asked if fault)
        assert is_known == (happened in answers)
        assert repr(answers.setdefault(happened, answer)) == repr(answer)
    assert len(explored) == len(answers) < RUNS


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("kind", HANGS)
def test_a_replica_that_hangs_is_found_within_3_s(stage: Stage, kind: str) -> None:
    expected = Undisturbed()
    for number in range(expected.messages[stage]):
        world = expected.run((Fault(stage, number, kind),))
        assert world.losses == 1
        assert world.seconds <= FOUND_S


def test_whoever_is_slow_is_not_given_up() -> None:
    require_patience(Undisturbed())


@pytest.mark.parametrize("stage", STAGES)
def test_a_replica_of_an_older_version_repeats_nothing(stage: Stage) -> None:
    """It knows neither what was made before nor offsets, and would begin anew."""

    class OlderSecond(World):
        def altered(self, which: Stage, delta: Any) -> Any:
            is_older = which == stage and bool(self.happened)
            return replace(delta, offset=None, made=()) if is_older else delta

    for number in range(1, 4):
        world = OlderSecond((Fault(stage, number, "error"),))
        with pytest.raises(EngineFailed):
            LOOP.run(world.heard(speech()))


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_of_a_version_without_heartbeats_is_waited_for(stage: Stage) -> None:
    whole = one_run(())[1]
    for number in range(3):
        world = World((Fault(stage, number, "slow", 60.0),), beats=False)
        assert LOOP.run(world.heard(speech())) == without_heartbeats(whole)
        assert not world.losses


def without_heartbeats(deltas: Any) -> list[Any]:
    return [replace(delta, heartbeat=None) for delta in deltas]


@pytest.mark.parametrize("parts", [1, 3])
def test_all_replicas_draw_an_answer_without_a_seed_by_the_same_chance(parts: int) -> None:
    then = tuple(NextPart(ThinkerRequest("r", ())) for _ in range(parts - 1))
    progress = SpokenProgress(SpeechRequest(ThinkerRequest("r", ()), then=then), Tries(3))

    def chances() -> list[int]:
        asked = progress.request()
        return [one.chance for one in (asked.thinker, *(part.thinker for part in asked.then))]

    first = chances()
    assert len({*first, 0}) == parts + 1
    progress.lose()
    assert chances() == first


def test_a_text_that_breaks_anywhere_is_exact() -> None:
    def ask(faults: tuple[Fault, ...]) -> list[Any]:
        return LOOP.run(everything(World(faults).written(ThinkerRequest("text", (), chance=1))))

    whole = ask(())
    for number, kind in itertools.product(range(TOKENS + 1), BREAKS):
        got = ask((Fault("Thinker", number, kind),))
        assert "".join(delta.text for delta in got) == "".join(delta.text for delta in whole)
        assert got[-1].usage == whole[-1].usage
        assert sum((delta.token_ids for delta in got), ()) == sum(
            (delta.token_ids for delta in whole), ()
        )
