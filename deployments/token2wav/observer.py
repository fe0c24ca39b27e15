"""What Token2Wav reports to a log or to metrics: steps, refusals, voices."""

from dataclasses import dataclass
from typing import Literal, Protocol

Refusal = Literal["memory", "time"]


@dataclass(frozen=True, slots=True)
class ChunkReport:
    """One row of a step. Times are of the synthesizer's clock, in seconds."""

    tokens: int
    last: bool
    arrived_s: float
    plays_until_s: float | None  # what was sent before; None before a stream's first sound


@dataclass(frozen=True, slots=True)
class StepReport:
    """One step, from the call of the engine to its return."""

    began_s: float
    ended_s: float
    held_s: float  # how long it waited for more rows after it could have begun
    open_streams: int
    left_waiting: int  # chunks that were not in the step
    chunks: tuple[ChunkReport, ...]
    failed: bool = False  # the engine raised
    broken: int = 0  # rows that were not finite


class SynthesisObserver(Protocol):
    """The synthesizer calls it on the event loop, so that every method must return at once."""

    def step_ended(self, step: StepReport) -> None: ...
    def stream_opened(self, open_streams: int) -> None: ...
    def stream_closed(self, open_streams: int) -> None: ...
    def stream_refused(self, reason: Refusal) -> None: ...
    def voice_prepared(self, took_s: float) -> None: ...
    def voices_kept(self, voices: int) -> None: ...


class Unobserved:
    """Does nothing."""

    def step_ended(self, step: StepReport) -> None: ...
    def stream_opened(self, open_streams: int) -> None: ...
    def stream_closed(self, open_streams: int) -> None: ...
    def stream_refused(self, reason: Refusal) -> None: ...
    def voice_prepared(self, took_s: float) -> None: ...
    def voices_kept(self, voices: int) -> None: ...
