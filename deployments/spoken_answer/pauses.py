"""Pauses between the parts of a spoken text: the quiet that is there, made as long as it should be.

A voice is quiet at a sentence's end and at the next one's beginning, but how long is left to
chance where each is spoken by itself. The sound of a joint is never cut into: where there is no
quiet, there is no pause.
"""

from collections import deque

import numpy as np
from numpy.typing import NDArray

from deployments.messages import OUTPUT_SAMPLE_RATE_HZ

Samples = NDArray[np.int16]

QUIET = 1 / 50  # of the loudest sample so far, -34 dB: between words; breath and noise are below
QUIET_AT_LEAST = round(0.02 * OUTPUT_SAMPLE_RATE_HZ)  # samples: less is within a word
SILENT = 32  # -60 dB of the full scale is quiet in any case
MIRRORED_AT_LEAST = round(0.01 * OUTPUT_SAMPLE_RATE_HZ)  # samples: less than that would buzz
KEPT = round(0.1 * OUTPUT_SAMPLE_RATE_HZ)  # samples of a quiet that its longer form is made of


class Pauses:
    """Takes one stream's sound and lengthens the quiet at its joints. Adds no delay."""

    def __init__(self) -> None:
        self._joints: deque[tuple[int, int]] = deque()  # a sample, and samples of quiet around it
        self._passed = 0  # samples
        self._loudest = 0
        self._quiet = 0  # samples, of which those that passed last
        self._tail: Samples = np.zeros(0, np.int16)  # the last of them, `KEPT` at most

    def add(self, sample: int, pause_s: float) -> None:
        """Have at least `pause_s` of quiet around the joint before that sample of the stream.

        Joints are added in order, each before its sample has passed.
        """
        self._joints.append((sample, round(pause_s * OUTPUT_SAMPLE_RATE_HZ)))

    def push(self, pcm: bytes) -> bytes:
        """The next sound of the stream, s16le, with the pauses that it gets."""
        samples = np.frombuffer(pcm, dtype="<i2")
        loud = self._loud(samples)
        begin, parts = 0, []
        while (joint := self._next_joint(samples, loud)) is not None:
            quiet, onset, wanted = joint
            if QUIET_AT_LEAST <= quiet < wanted:
                at = max(begin, onset - quiet // 2)
                left = min(KEPT, quiet - (onset - at))  # at least one: `at` is within the quiet
                before = np.concatenate((self._tail, samples[:at]))[-left:]
                parts += [samples[begin:at], _longer(before, samples[at:onset], wanted - quiet)]
                begin = at
        self._pass(samples, loud)
        return b"".join(part.tobytes() for part in (*parts, samples[begin:])) if parts else pcm

    def _next_joint(self, samples: Samples, loud: NDArray[np.intp]) -> tuple[int, int, int] | None:
        """The quiet around the next joint, where in `samples` it ends, and the quiet wanted.

        None where there is no further joint in `samples`, or the end of its quiet is not.
        """
        if not self._joints or self._joints[0][0] >= self._passed + len(samples):
            return None
        after = int(np.searchsorted(loud, max(0, self._joints[0][0] - self._passed)))
        if after == len(loud):
            return None
        _, wanted = self._joints.popleft()
        onset = int(loud[after])
        quiet = onset - int(loud[after - 1]) - 1 if after else self._quiet + onset
        return quiet, onset, wanted

    def _loud(self, samples: Samples) -> NDArray[np.intp]:
        """Where in `samples` it is not quiet."""
        levels = np.abs(samples.astype(np.int32))
        self._loudest = max(self._loudest, int(levels.max(initial=0)))
        return np.flatnonzero(levels > max(SILENT, QUIET * self._loudest))

    def _pass(self, samples: Samples, loud: NDArray[np.intp]) -> None:
        self._passed += len(samples)
        since = len(samples) - int(loud[-1]) - 1 if len(loud) else self._quiet + len(samples)
        self._quiet = since
        self._tail = np.concatenate((self._tail, samples))[-KEPT:]


def _longer(before: Samples, after: Samples, count: int) -> Samples:
    """`count` samples between the quiet `before` and `after` a point, of their own sound.

    Each is mirrored at the point, and one fades into the other: no step is heard, and no hole in
    the noise of a room. One that is too short to be mirrored gives way to the other.
    """
    after = after[:KEPT]
    if len(after) < MIRRORED_AT_LEAST <= len(before):
        after = after[:0]
    if len(before) < MIRRORED_AT_LEAST <= len(after):
        before = before[:0]
    sides = []
    if len(before):
        sides.append(np.pad(before, (0, count), "symmetric")[-count:].astype(np.float32))
    if len(after):
        sides.append(np.pad(after, (count, 0), "symmetric")[:count].astype(np.float32))
    fade = np.linspace(0.0, 1.0, count, dtype=np.float32)
    longer: Samples = np.round(sides[0] + (sides[-1] - sides[0]) * fade).astype("<i2")
    return longer
