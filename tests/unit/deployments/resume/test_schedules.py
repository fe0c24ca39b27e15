"""Every point at which a stream can break, by every kind of fault: exact, or an error."""

import asyncio
import itertools
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

import pytest

from deployments.errors import EngineFailed, ThinkerLost
from deployments.messages import NextPart, SpeechDelta, SpeechRequest, ThinkerRequest
from deployments.resume import (
    Policy,
    Recovery,
    SpokenProgress,
    Tries,
    WrittenProgress,
    resumed,
)
from deployments.spoken_answer.answer_aloud import answer_aloud
from tests.unit.deployments.resume.chained import ChainedSynthesizer, ChainedThinker, everything

TOKENS = 26
BREAKS = ("error", "foreign cancellation", "silent end")
DISORDERS = ("duplicate", "gap")
RUNS = 150
TRIES = Recovery().tries


class Lost(Exception):
    """A replica that died."""


@dataclass(frozen=True)
class Fault:
    """What goes wrong before a stage's message of that number, counted over all attempts."""

    stage: str
    message: int
    kind: str


class World:
    """Both stages in this process, joined as Ray joins them, with faults in between."""

    def __init__(self, faults: tuple[Fault, ...], begun: int = 0) -> None:
        self._faults = {(fault.stage, fault.message): fault.kind for fault in faults}
        self.messages = {"Thinker": itertools.count(), "Token2Wav": itertools.count()}
        self._thinker = ChainedThinker(TOKENS)
        self._synthesizer = ChainedSynthesizer(begun)
        self.happened: list[str] = []
        self.losses = 0

    def written(self, request: ThinkerRequest) -> AsyncGenerator[Any]:
        return self._written(request, Tries(TRIES))

    def spoken(self, request: SpeechRequest) -> AsyncGenerator[SpeechDelta]:
        tries = Tries(request.tries)
        progress = SpokenProgress(request, tries)

        def ask() -> AsyncGenerator[SpeechDelta]:
            return self._faulty("Token2Wav", self._speak(progress.request()))

        return resumed(ask, progress, tries, self._policy)

    @property
    def _policy(self) -> Policy:
        return Policy(lambda error: isinstance(error, Lost), self._note, 10.0, sleep=no_wait)

    def _note(self, error: BaseException, tries: Tries) -> None:
        self.losses += 1

    async def _speak(self, request: SpeechRequest) -> AsyncGenerator[SpeechDelta]:
        tries = Tries(request.tries)

        async def think(asked: ThinkerRequest) -> AsyncGenerator[Any]:
            async with aclosing(self._written(asked, tries)) as deltas:
                try:
                    async for delta in deltas:
                        yield delta
                except Lost as error:
                    raise ThinkerLost() from error

        async with aclosing(answer_aloud(request, self._synthesizer, think)) as spoken:  # type: ignore[arg-type]
            async for delta in spoken:
                yield replace(delta, tries=tries.left) if tries.spent else delta

    def _written(self, request: ThinkerRequest, tries: Tries) -> AsyncGenerator[Any]:
        progress = WrittenProgress(request)

        def ask() -> AsyncGenerator[Any]:
            return self._faulty("Thinker", self._thinker.generate(progress.request()))

        return resumed(ask, progress, tries, self._policy)

    async def _faulty(self, stage: str, deltas: AsyncGenerator[Any]) -> AsyncGenerator[Any]:
        """`deltas` as they come from a replica of that stage."""
        async with aclosing(deltas):
            async for delta in deltas:
                kind = self._faults.get((stage, next(self.messages[stage])))
                if kind is not None:
                    self.happened.append(kind)
                match kind:
                    case "error":
                        raise Lost(stage)
                    case "foreign cancellation":
                        raise asyncio.CancelledError()
                    case "silent end":
                        return
                    case "duplicate":
                        yield delta
                    case "gap":
                        continue
                yield delta


async def no_wait(seconds: float) -> None:
    pass


def speech(parts: int = 1) -> SpeechRequest:
    def part(number: int) -> ThinkerRequest:
        return ThinkerRequest(f"part {number}", (), reply="speech")

    then = tuple(NextPart(part(number), pause_s=0.1) for number in range(1, parts))
    return SpeechRequest(part(0), then=then)


def sound(deltas: list[SpeechDelta]) -> bytes:
    return b"".join(delta.pcm for delta in deltas)


def one_run(
    faults: tuple[Fault, ...], parts: int, begun: int = 0
) -> tuple[World, list[SpeechDelta] | Exception]:
    """One answer. The schedule of its stream depends on how many were `begun` before."""
    world = World(faults, begun=begun)
    try:
        return world, asyncio.run(everything(world.spoken(speech(parts))))
    except (Lost, EngineFailed) as error:
        return world, error


class Undisturbed:
    """The answer without faults: its sound by each schedule, its usage, and its messages."""

    def __init__(self, parts: int) -> None:
        self.sounds = []
        for begun in range(4):
            world, deltas = one_run((), parts, begun)
            assert isinstance(deltas, list)
            self.sounds.append(sound(deltas))
            self.usage = deltas[-1].usage
            if begun == 0:
                self.messages = {stage: next(count) for stage, count in world.messages.items()}

    def require_exact(self, got: Any, faults: tuple[Fault, ...]) -> None:
        assert isinstance(got, list), (faults, got)
        # A stream of which nothing was received begins anew, by a schedule of its own.
        anew = len(
            list(
                itertools.takewhile(lambda n: Fault("Token2Wav", n, "") in blank(faults), range(4))
            )
        )
        assert sound(got) == self.sounds[anew], faults
        assert got[-1].usage == self.usage, faults
        assert [delta.finish_reason for delta in got if delta.finish_reason] == ["stop"], faults


def blank(faults: tuple[Fault, ...]) -> set[Fault]:
    return {replace(fault, kind="") for fault in faults if fault.kind in BREAKS}


def places(messages: dict[str, int]) -> list[tuple[str, int]]:
    return [(stage, number) for stage, count in messages.items() for number in range(count)]


def require_all_exact(expected: Undisturbed, parts: int) -> None:
    """Whatever breaks once, wherever it is, the answer is exact; out of order it is an error."""
    for (stage, number), kind in itertools.product(places(expected.messages), BREAKS):
        faults = (Fault(stage, number, kind),)
        world, got = one_run(faults, parts)
        expected.require_exact(got, faults)
        assert world.happened == [kind] and world.losses == 1
    for (stage, number), kind in itertools.product(places(expected.messages), DISORDERS):
        faults = (Fault(stage, number, kind),)
        _, got = one_run(faults, parts)
        if not isinstance(got, EngineFailed):  # a last message that comes twice is not read twice
            expected.require_exact(got, faults)


def require_exact_at_random(expected: Undisturbed, parts: int, runs: int) -> None:
    """Two to four faults by chance: exact as long as there are tries, else exact or an error."""
    for seed in range(runs):
        draw = random.Random(seed)
        at = draw.sample(places(expected.messages), draw.randint(2, 4))
        faults = tuple(Fault(stage, number, draw.choice(BREAKS)) for stage, number in at)
        world, got = one_run(faults, parts)
        # A Token2Wav that dies at once has not said that it lost a Thinker: four may be exact too.
        if len(world.happened) <= 3 or isinstance(got, list):
            expected.require_exact(got, faults)


@pytest.mark.parametrize("parts", [1, 3])
def test_a_stream_that_breaks_once_anywhere_is_exact(parts: int) -> None:
    require_all_exact(Undisturbed(parts), parts)


def test_a_stream_that_breaks_up_to_three_times_is_exact() -> None:
    require_exact_at_random(Undisturbed(2), parts=2, runs=RUNS)


@pytest.mark.parametrize("stage", ["Thinker", "Token2Wav"])
def test_a_replica_of_an_older_version_repeats_nothing(stage: str) -> None:
    """It knows neither what was made before nor offsets, and would begin anew."""

    class OlderSecond(World):
        async def _faulty(self, which: str, deltas: AsyncGenerator[Any]) -> AsyncGenerator[Any]:
            is_older = which == stage and bool(self.happened)
            async with aclosing(super()._faulty(which, deltas)) as answered:
                async for delta in answered:
                    yield replace(delta, offset=None, made=()) if is_older else delta

    for number in range(1, 4):
        world = OlderSecond((Fault(stage, number, "error"),))
        with pytest.raises(EngineFailed):
            asyncio.run(everything(world.spoken(speech())))


def test_a_text_that_breaks_anywhere_is_exact() -> None:
    def ask(faults: tuple[Fault, ...]) -> list[Any]:
        return asyncio.run(everything(World(faults).written(ThinkerRequest("text", ()))))

    whole = ask(())
    for number, kind in itertools.product(range(TOKENS + 1), BREAKS):
        got = ask((Fault("Thinker", number, kind),))
        assert "".join(delta.text for delta in got) == "".join(delta.text for delta in whole)
        assert got[-1].usage == whole[-1].usage
        assert sum((delta.token_ids for delta in got), ()) == sum(
            (delta.token_ids for delta in whole), ()
        )
