"""Streams with faults by chance, in virtual time: `make schedules`.

Each seed is one answer and up to five faults: a replica that dies or hangs, a message that comes
twice, a slow listener. The answer must be exact, or end with an error where no attempt was left.
Prints how many were run, and the seed of the first that was not as it must be.

    python -m tests.benchmarks.run_schedules --seed 72      one seed again, with its faults
"""

import argparse
import gc
import sys
import time

from tests.unit.deployments.resume.test_schedules import FEW_TOKENS, require_exact_at_random
from tests.unit.deployments.resume.world import Undisturbed, by_chance

OBJECTS_OF_A_RUN = 50_000  # a collection every few runs: Python's own would be in every one


def replay(seed: int, expected: Undisturbed) -> None:
    """One seed again. Raises AssertionError where its answer is not as it must be."""
    faults = by_chance(seed, expected)
    for fault in faults:
        print(fault)
    world = expected.run(faults)
    print(f"as it must be: {world.losses} losses, {world.seconds:.2f} s of virtual time")


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=100_000)
    options.add_argument("--first", type=int, default=0, help="the first seed")
    options.add_argument("--seed", type=int, help="run this one alone, and say what happens")
    chosen = options.parse_args()
    expected = Undisturbed(tokens=FEW_TOKENS)
    if chosen.seed is not None:
        replay(chosen.seed, expected)
        return 0
    gc.freeze()
    gc.set_threshold(OBJECTS_OF_A_RUN)
    began_s, cpu_s = time.perf_counter(), time.process_time()
    require_exact_at_random(expected, range(chosen.first, chosen.first + chosen.runs))
    took_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
    each_us = 1e6 * cpu_s / chosen.runs
    print(f"{chosen.runs} schedules in {took_s:.1f} s, {each_us:.0f} us of CPU each")
    return 0


if __name__ == "__main__":
    sys.exit(main())
