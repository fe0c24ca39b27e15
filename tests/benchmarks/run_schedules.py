"""Streams with faults by chance, in virtual time: `make schedules`, and a part of `make test`.

Each seed is one answer and up to five faults: a replica that dies or hangs, a message that comes
twice, a slow listener. The answer must be exact, or end with an error where no attempt was left.
Prints how many there were and how many of them differ, or the seed of the first that was not as it
must be. Two seeds differ where not all faults that happen are the same: a fault may also come
behind the answer's end. One process of two runs every second seed.

    python -m tests.benchmarks.run_schedules --seed 72      one seed again, with its faults
"""

import argparse
import gc
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from tests.unit.deployments.resume.test_schedules import FEW_TOKENS, require_exact_at_random
from tests.unit.deployments.resume.world import Undisturbed, by_chance

PROCESSES = 2
OBJECTS_OF_A_RUN = 50_000  # a collection every few runs: Python's own would be in every one


def replay(seed: int, expected: Undisturbed) -> None:
    """One seed again. Raises AssertionError where its answer is not as it must be."""
    faults = by_chance(seed, expected)
    for fault in faults:
        print(fault)
    world = expected.run(faults)
    print(f"as it must be: {world.losses} losses, {world.seconds:.2f} s of virtual time")


def run(seeds: range) -> tuple[int, float]:
    """How many of the runs differ, and the seconds of CPU that they took."""
    expected = Undisturbed(tokens=FEW_TOKENS)
    gc.freeze()
    gc.set_threshold(OBJECTS_OF_A_RUN)
    differ = require_exact_at_random(expected, seeds)
    return differ, time.process_time()


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=100_000)
    options.add_argument("--first", type=int, default=0, help="the first seed")
    options.add_argument("--seed", type=int, help="run this one alone, and say what happens")
    chosen = options.parse_args()
    if chosen.seed is not None:
        replay(chosen.seed, Undisturbed(tokens=FEW_TOKENS))
        return 0
    began_s, end = time.perf_counter(), chosen.first + chosen.runs
    seeds = [range(chosen.first + number, end, PROCESSES) for number in range(PROCESSES)]
    with ProcessPoolExecutor(PROCESSES) as processes:
        differ, cpu_s = map(sum, zip(*processes.map(run, seeds), strict=True))
    took_s = time.perf_counter() - began_s
    print(
        f"{chosen.runs} schedules as they must be, {differ} of which differ within a process: "
        f"{took_s:.1f} s, {cpu_s:.1f} s of CPU"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
