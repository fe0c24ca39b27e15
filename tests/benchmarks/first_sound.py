"""Where the time to the first sound goes, for requests that are sent one after another."""

from collections.abc import Sequence
from dataclasses import dataclass

from serve_app.bench.measures import Percentiles, RequestTrace, percentiles
from tests.benchmarks.step_log import LoggedChunk, LoggedStep


@dataclass(frozen=True, slots=True)
class FirstSound:
    """Its parts, in seconds, one after another."""

    tokens_s: Percentiles  # from the request's sending until Token2Wav has the first chunk's tokens
    waiting_s: Percentiles  # until a step takes them
    step_s: Percentiles
    sending_s: Percentiles  # from the step's end until the client has the first byte


def first_sound(traces: Sequence[RequestTrace], steps: Sequence[LoggedStep]) -> FirstSound | None:
    """The parts of all requests whose first chunk is in `steps`; None if there is none.

    Clients and server are on one host: both clocks are the system's monotonic one.
    """
    parts = [part for trace in traces if trace.ok and (part := _parts(trace, steps))]
    if not parts:
        return None
    return FirstSound(*(percentiles(values) for values in zip(*parts, strict=True)))


def _parts(
    trace: RequestTrace, steps: Sequence[LoggedStep]
) -> tuple[float, float, float, float] | None:
    heard_s = trace.arrivals[0].at_s
    for step in steps:
        for chunk in step.chunks:
            if _is_first(chunk) and trace.sent_s < chunk.arrived_s and step.ended_s < heard_s:
                return (
                    chunk.arrived_s - trace.sent_s,
                    step.began_s - chunk.arrived_s,
                    step.ended_s - step.began_s,
                    heard_s - step.ended_s,
                )
    return None


def _is_first(chunk: LoggedChunk) -> bool:
    return chunk.dry_at_s is None and not chunk.last
