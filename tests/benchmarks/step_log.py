"""What Token2Wav's steps were made of: on request, from a replica that is measured.

`logged` gives Token2Wav's deployment a method more, `take_steps`; the graph that serves knows
nothing of it. Times are of `time.monotonic`, in seconds.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from deployments.token2wav.observer import StepReport, Unobserved
from serve_app.bench.measures import Percentiles, percentiles

MOST_STEPS = 20_000


@dataclass(frozen=True, slots=True)
class LoggedChunk:
    """One row of a step. The first chunk of a stream has no `dry_at_s`: nothing plays yet."""

    tokens: int
    last: bool
    arrived_s: float
    dry_at_s: float | None  # when its listener has played all that was sent before


@dataclass(frozen=True, slots=True)
class LoggedStep:
    began_s: float
    ended_s: float
    open_streams: int
    left_waiting: int  # chunks that did not go along
    chunks: tuple[LoggedChunk, ...]


@dataclass(slots=True)
class StepSummary:
    """Of all steps of a phase. A chunk is late where its listener has run dry before it came."""

    steps: int
    chunks: int
    busy_s: float  # in which a step ran
    over_s: float  # from the first step's begin to the last one's end
    step_s: Percentiles | None
    rows: dict[int, int] = field(default_factory=dict)  # steps by their number of rows
    step_s_by_rows: dict[int, float] = field(default_factory=dict)  # p50
    slack_s: dict[str, float] = field(default_factory=dict)  # left at the hand-over: p1, p10, p50
    late: int = 0
    late_by_tokens: int = 0  # of those: came from the Thinker after the listener had run dry
    late_by_waiting: int = 0  # of those: their step began after it
    late_by_step: int = 0  # of those: the step itself took too long


def summarize_steps(steps: Sequence[LoggedStep]) -> StepSummary:
    """Pure arithmetic over what `take_steps` gave."""
    took = [step.ended_s - step.began_s for step in steps]
    summary = StepSummary(
        steps=len(steps),
        chunks=sum(len(step.chunks) for step in steps),
        busy_s=sum(took),
        over_s=steps[-1].ended_s - steps[0].began_s if steps else 0.0,
        step_s=percentiles(took),
    )
    by_rows: dict[int, list[float]] = {}
    for step, step_s in zip(steps, took, strict=True):
        by_rows.setdefault(len(step.chunks), []).append(step_s)
    slack: list[float] = []
    for step in steps:
        for chunk in step.chunks:
            if chunk.dry_at_s is None:
                continue
            slack.append(chunk.dry_at_s - step.ended_s)
            if slack[-1] >= 0:
                continue
            summary.late += 1
            summary.late_by_tokens += chunk.arrived_s > chunk.dry_at_s
            summary.late_by_waiting += chunk.arrived_s <= chunk.dry_at_s < step.began_s
            summary.late_by_step += chunk.arrived_s <= chunk.dry_at_s and (
                step.began_s <= chunk.dry_at_s
            )
    for rows, values in sorted(by_rows.items()):
        ranked = percentiles(values)
        assert ranked is not None
        summary.rows[rows] = len(values)
        summary.step_s_by_rows[rows] = round(ranked.p50, 5)
    slack.sort()
    for name, share in (("p1", 0.01), ("p10", 0.1), ("p50", 0.5)) if slack else ():
        summary.slack_s[name] = round(slack[int(share * (len(slack) - 1))], 4)
    return summary


class StepLog(Unobserved):
    """Notes every step that a synthesizer reports."""

    def __init__(self) -> None:
        self._steps: list[LoggedStep] = []

    def take(self) -> list[LoggedStep]:
        """The steps since the last call; those at the beginning, if they are too many."""
        taken, self._steps = self._steps, []
        return taken

    def step_ended(self, step: StepReport) -> None:
        if len(self._steps) >= MOST_STEPS:
            return
        chunks = tuple(
            LoggedChunk(chunk.tokens, chunk.last, chunk.arrived_s, chunk.plays_until_s)
            for chunk in step.chunks
        )
        self._steps.append(
            LoggedStep(step.began_s, step.ended_s, step.open_streams, step.left_waiting, chunks)
        )


def logged(deployment: Any) -> Any:
    """Token2Wav's deployment with the method `take_steps()`, which gives `LoggedStep`s' fields."""
    base = deployment.func_or_class

    class Logged(base):  # type: ignore[misc,valid-type]
        async def __init__(self, *args: Any, **kwargs: Any) -> None:  # type: ignore[misc]
            self.observer = StepLog()
            await super().__init__(*args, **kwargs)

        async def take_steps(self) -> list[dict[str, Any]]:
            return [asdict(step) for step in self.observer.take()]

    Logged.__name__ = Logged.__qualname__ = base.__name__
    return deployment.options(func_or_class=Logged)


def steps_from(fields: Sequence[dict[str, Any]]) -> list[LoggedStep]:
    """What `take_steps` gave, as values again."""
    return [
        LoggedStep(**{**one, "chunks": tuple(LoggedChunk(**chunk) for chunk in one["chunks"])})
        for one in fields
    ]
