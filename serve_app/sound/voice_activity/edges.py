"""Probabilities of speech -> where it begins and ends. Pure; a stream's state is a value."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

FRAME_MS = 32
HYSTERESIS = 0.15  # silero's: speech goes on until the probability falls so far below the threshold
LEAST_THRESHOLD = 0.01


@dataclass(frozen=True, slots=True)
class SpeechRule:
    """When speech counts as begun and as ended."""

    threshold: float = 0.5
    """It begins with the first frame of at least this probability."""

    silence_ms: int = 500
    """It has ended once so much silence followed it."""

    @property
    def silence_frames(self) -> int:
        return max(1, -(-self.silence_ms // FRAME_MS))

    @property
    def quiet_below(self) -> float:
        """Frames below are silent; those between this and the threshold continue what was."""
        return max(self.threshold - HYSTERESIS, LEAST_THRESHOLD)


@dataclass(frozen=True, slots=True)
class Edge:
    """Speech begins with `frame`, or ends before it. The end is known `silence_ms` later."""

    kind: Literal["start", "end"]
    frame: int  # counted from the beginning of the stream


@dataclass(frozen=True, slots=True)
class SpeechState:
    """Where one stream stands."""

    frames: int = 0  # seen so far
    speaking: bool = False
    quiet_since: int | None = None  # the first frame of a silence within speech


def find_edges(
    probabilities: Iterable[float], state: SpeechState, rule: SpeechRule
) -> tuple[list[Edge], SpeechState]:
    """The edges that the next frames of a stream bring, and where it stands after them."""
    edges = []
    for probability in probabilities:
        edge, state = _step(probability, state, rule)
        edges += [edge] if edge else []
    return edges, state


def _step(
    probability: float, state: SpeechState, rule: SpeechRule
) -> tuple[Edge | None, SpeechState]:
    frame, after = state.frames, replace(state, frames=state.frames + 1)
    if probability >= rule.threshold:
        edge = None if state.speaking else Edge("start", frame)
        return edge, replace(after, speaking=True, quiet_since=None)
    if not state.speaking:
        return None, after
    quiet_since = state.quiet_since
    if quiet_since is None and probability < rule.quiet_below:
        quiet_since = frame
    if quiet_since is not None and after.frames - quiet_since >= rule.silence_frames:
        return Edge("end", quiet_since), replace(after, speaking=False, quiet_since=None)
    return None, replace(after, quiet_since=quiet_since)
