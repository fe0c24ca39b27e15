"""Faults by chance and by a seed: a replica dies or hangs, an ingress dies, a node goes or is cut
off, Ray's GCS restarts."""

import random
from dataclasses import dataclass

STAGES = ("Thinker", "Token2Wav")
INGRESS = "Ingress"
KINDS = ("kill", "hang", "node", "ingress", "cut", "gcs")
SHORTEST_HANG_S, LONGEST_HANG_S = 0.5, 8.0  # Ray Serve replaces a replica that hangs for 33 s


@dataclass(frozen=True)
class Fault:
    """What happens to a replica of a stage, to one of the ingress, to a node, or to the GCS."""

    at_s: float  # after the beginning
    kind: str  # of `KINDS`
    stage: str  # of a replica that is killed or hangs
    which: float  # of those that there are, in [0, 1)
    seconds: float  # of a hang or a cut, or until another node or GCS is there


def faults_of(seed: int, every_s: float, seconds: float, kinds: tuple[str, ...]) -> list[Fault]:
    """One fault every `every_s`, for `seconds`."""
    draw = random.Random(seed)
    return [
        Fault(
            number * every_s,
            draw.choice(kinds),
            draw.choice(STAGES),
            draw.random(),
            draw.uniform(SHORTEST_HANG_S, LONGEST_HANG_S),
        )
        for number in range(1, int(seconds / every_s) + 1)
    ]
