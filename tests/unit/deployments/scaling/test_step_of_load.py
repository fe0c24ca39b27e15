"""Three times the listeners at one moment, in virtual time: real schedule, real admission.

Replicas are small, so that few listeners fill them: they have memory for 20 streams, and a step
costs twice what an H200's does.
"""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deployments.errors import ServerFull
from deployments.scaling.headroom_policy import HeadroomPolicy, Stage
from deployments.scaling.stage_load import ASKED, LOAD, REFUSED, StageLoad
from deployments.token2wav.configured_voices import VoiceRecording
from deployments.token2wav.contract import StepInput
from deployments.token2wav.synthesizer import BatchingSynthesizer
from deployments.token2wav.token2wav_config import Token2WavConfig
from tests.unit.deployments.token2wav import test_overload as overload
from tests.unit.deployments.token2wav.virtual_time import VirtualRunner, run_virtually

SLOWER = 2
PLACES = 20
MAX_BATCH = 8
STARTS_IN_S = 15.0
BEFORE_S, AFTER_S = 15.0, 44.0
EVERY_S = 0.5  # the policy is asked
BEGINNINGS_A_S = 7.0  # before the step; a stream is open for 4 s
STEP = 3


class SmallEngine(overload.Engine):
    max_streams = PLACES

    def _cost_s(self, rows: Sequence[StepInput]) -> float:
        return SLOWER * super()._cost_s(rows)


class Replica:
    """A Token2Wav and what it tells the policy."""

    def __init__(self) -> None:
        engine = SmallEngine()
        self.load = StageLoad()
        self.synthesizer = BatchingSynthesizer(
            lambda: engine,
            {"default": VoiceRecording(Path("voice.wav"), b"", seconds=6.0)},
            Token2WavConfig().schedule,
            max_batch=MAX_BATCH,
            cached_voices=1,
            runner=lambda name: VirtualRunner(engine),
            now_s=asyncio.get_running_loop().time,
        )

    async def open(self, voice: None):
        with self.load.counted():
            return await self.synthesizer.open(voice)

    def stats(self) -> dict[str, float]:
        return self.load.stats(self.synthesizer.headroom())


@dataclass
class Cluster:
    """Replicas, of which those that start are not asked."""

    warm: list[Replica] = field(default_factory=list)
    target: int = 0
    decided: list[tuple[float, int]] = field(default_factory=list)

    async def start(self) -> None:
        await asyncio.sleep(STARTS_IN_S)
        replica = Replica()
        await replica.synthesizer.start()
        self.warm.append(replica)

    async def open(self, voice: None):
        """As the router does: the replica with the fewest streams, then the others."""
        for replica in sorted(self.warm, key=lambda one: one.synthesizer.open_streams):
            try:
                return await replica.open(voice)
            except ServerFull:
                continue
        raise ServerFull(reason="time")

    async def scale(self, policy: HeadroomPolicy, until_s: float) -> None:
        """Ask the policy twice a second, and start what it wants."""
        now_s, seen = asyncio.get_running_loop().time, []
        starting: set[asyncio.Task[None]] = set()
        while now_s() < until_s:
            stats = {str(number): one.stats() for number, one in enumerate(self.warm)}
            seen.append(stats)
            loads = {one: found[LOAD] for one, found in stats.items()}
            stage = Stage(loads, len(self.warm), self.target)
            offered = offered_lately(seen[-11:])
            wanted = policy.decide({"Token2Wav": stage}, offered, now_s())["Token2Wav"]
            if wanted != self.target:
                self.decided.append((now_s(), wanted))
            for _ in range(wanted - self.target):
                starting.add(asyncio.create_task(self.start()))
            self.target = max(self.target, wanted)
            await asyncio.sleep(EVERY_S)
        for task in starting:
            task.cancel()


def offered_lately(seen: list[dict[str, dict[str, float]]]) -> float:
    first, last = seen[0], seen[-1]
    refused = min(last[one][REFUSED] - first[one][REFUSED] for one in first)
    asked = sum(last[one][ASKED] - first[one][ASKED] for one in first)
    refused_all = sum(last[one][REFUSED] - first[one][REFUSED] for one in first)
    return 1 + refused / max(1.0, asked - refused_all)


async def answers(cluster: Cluster, heard: overload.Heard, each_s: float, for_s: float) -> None:
    """One that begins every `each_s`."""
    count = math.ceil(for_s / each_s)
    await asyncio.gather(
        *(overload.listen(cluster, heard, number * each_s) for number in range(count))  # type: ignore[arg-type]
    )


def test_three_times_the_load_is_decided_on_in_five_seconds_and_nobody_who_is_let_in_hears_a_gap():
    before, after, late = overload.Heard(), overload.Heard(), overload.Heard()
    cluster = Cluster(target=2)

    async def whole() -> float:
        loop = asyncio.get_running_loop()
        cluster.warm = [Replica(), Replica()]
        for replica in cluster.warm:
            await replica.synthesizer.start()
        ends_s = loop.time() + BEFORE_S + AFTER_S
        scaling = asyncio.create_task(cluster.scale(HeadroomPolicy(), ends_s))
        calm = asyncio.create_task(answers(cluster, before, 1 / BEGINNINGS_A_S, BEFORE_S))
        await asyncio.sleep(BEFORE_S)
        stepped_s = loop.time()
        each_s = 1 / (STEP * BEGINNINGS_A_S)
        await answers(cluster, after, each_s, AFTER_S / 2)
        await answers(cluster, late, each_s, AFTER_S / 4)
        await calm
        await scaling
        return stepped_s

    stepped_s = run_virtually(whole())
    grown = [(at_s, wanted) for at_s, wanted in cluster.decided if at_s >= stepped_s]
    assert [wanted for at_s, wanted in cluster.decided if at_s < stepped_s] == []
    assert grown[0][0] - stepped_s <= 5
    assert before.with_a_gap + after.with_a_gap + late.with_a_gap == 0
    assert after.refused > 0 and late.refused == 0
