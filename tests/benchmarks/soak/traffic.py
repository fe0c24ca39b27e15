"""Everybody who asks during a soak: each client waits a while after each answer."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

import httpx

from tests.benchmarks.hostile_clients import HonestSound
from tests.benchmarks.soak.honest import HonestClient
from tests.benchmarks.soak.hostile import DRAWN_PER_NAMED, Act, acts, drawn
from tests.benchmarks.soak.outcomes import Outcome, Tally
from tests.benchmarks.soak.target import Target

HEALTH = "health"
SEED = 20_261_130


@dataclass(frozen=True, slots=True)
class Load:
    """How many ask, and how long each waits before it asks again, in the mean."""

    honest_clients: int = 3
    hostile_clients: int = 3
    pause_s: float = 20.0  # of an honest client
    hostile_pause_s: float = 5.0
    health_every_s: float = 2.0


class Traffic:
    """Asks one server until the clock says so."""

    def __init__(
        self, target: Target, sounds: tuple[HonestSound, ...], load: Load, tally: Tally
    ) -> None:
        self._target, self._sounds, self._load, self._tally = target, sounds, load, tally
        self._draw = random.Random(SEED)
        self._acts = shuffled(acts(), self._draw)

    async def quiet(self, until_s: float, pause_s: float) -> None:
        """Honest clients alone."""
        await asyncio.gather(self._honest(until_s, pause_s), self._health(until_s))

    async def mixed(self, until_s: float) -> None:
        """Honest clients beside hostile ones."""
        loops = (
            _again(self._hostile, self._load.hostile_pause_s, until_s, self._draw)
            for _ in range(self._load.hostile_clients)
        )
        honest = self._honest(until_s, self._load.pause_s)
        await asyncio.gather(*loops, honest, self._health(until_s))

    async def _honest(self, until_s: float, pause_s: float) -> None:
        client = HonestClient(self._target, self._sounds, self._tally, self._draw)
        count = self._load.honest_clients
        loops = (_again(client.ask, pause_s, until_s, self._draw) for _ in range(count))
        await asyncio.gather(*loops)

    async def _hostile(self) -> None:
        if self._draw.random() * (1 + DRAWN_PER_NAMED) < DRAWN_PER_NAMED:
            outcome = await drawn(self._target, self._draw)
        else:
            outcome = await next(self._acts).outcome(self._target, self._draw)
        self._tally.add(outcome)

    async def _health(self, until_s: float) -> None:
        while time.monotonic() < until_s:
            self._tally.add(await health(self._target))
            await asyncio.sleep(self._load.health_every_s)


async def health(target: Target) -> Outcome:
    """What `/health` says."""
    try:
        answer = await target.http.get("/health")
    except httpx.HTTPError as error:
        return Outcome(HEALTH, 0, type(error).__name__)
    ok = answer.status_code == httpx.codes.OK
    return Outcome(HEALTH, answer.status_code, None if ok else answer.text)


def shuffled(rows: list[Act], draw: random.Random) -> Iterator[Act]:
    """All of them again and again, each time in another order."""
    while True:
        yield from draw.sample(rows, len(rows))


async def _again(
    ask: Callable[[], Awaitable[None]], pause_s: float, until_s: float, draw: random.Random
) -> None:
    while time.monotonic() < until_s:
        await ask()
        left_s = max(until_s - time.monotonic(), 0)
        await asyncio.sleep(min(draw.expovariate(1 / pause_s), left_s) if pause_s else 0)
