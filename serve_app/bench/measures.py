"""From arrival times to figures: pure arithmetic, no clock and no network.

Definitions, the same in every report:

- A percentile is the nearest rank: the smallest measured value that at least p % of the values
  do not exceed. It is always a value that occurred.
- TTFA is the time from sending the request to the first byte of audio.
- Latency is the time from sending the request to its last byte.
- RTF is latency ÷ seconds of audio received; below 1 is quicker than real time.
- A chunk is what arrived within `SAME_CHUNK_S` of the piece before; a gap lies between chunks.
- An underrun is a moment at which a client that plays in real time has played all that it has
  received, and more is still to come. It resumes with the next byte.
- Audio seconds per second: all audio of a level's measured requests ÷ the time from the first
  one's start to the last one's last byte, ramp-down included.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

SAMPLE_RATE_HZ = 24_000
BYTES_PER_SECOND = 2 * SAMPLE_RATE_HZ  # s16le mono, what `pcm` and `pcm16` are
SAME_CHUNK_S = 0.002  # one chunk of the server may reach the client in several reads
ROUNDING_S = 1e-9  # a thousandth of a sample: what sums of floats may be off by

OK = "ok"


@dataclass(frozen=True, slots=True)
class Arrival:
    """A piece of audio, and when the client held it."""

    at_s: float  # on the clock of `RequestTrace.sent_s`
    audio_s: float  # how long it plays


@dataclass(slots=True)
class RequestTrace:
    """What the client saw of one request; times are seconds on one monotonic clock."""

    name: str  # which input
    sent_s: float
    ended_s: float = 0.0
    outcome: str = OK  # `ok`, an HTTP status, or what broke
    refusal: str = ""  # what the server said with a status other than 200
    arrivals: list[Arrival] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return self.outcome == OK

    @property
    def audio_s(self) -> float:
        return sum(arrival.audio_s for arrival in self.arrivals)

    @property
    def ttfa_s(self) -> float:
        """Raises IndexError when no audio came."""
        return self.arrivals[0].at_s - self.sent_s

    @property
    def latency_s(self) -> float:
        return self.ended_s - self.sent_s

    @property
    def rtf(self) -> float:
        return self.latency_s / self.audio_s


@dataclass(frozen=True, slots=True)
class PlaybackGaps:
    """How a client that plays in real time fared with one answer."""

    underruns: int
    stalled_s: float  # silence between the start of playback and the last byte


@dataclass(frozen=True, slots=True)
class Percentiles:
    p50: float
    p90: float
    p99: float
    max: float


@dataclass(frozen=True, slots=True)
class Summary:
    """One level of load. Times are seconds; None where no request succeeded."""

    requests: int
    failed: int
    outcomes: dict[str, int]
    ttfa_s: Percentiles | None
    latency_s: Percentiles | None
    rtf: Percentiles | None
    gap_s: Percentiles | None
    underruns: int
    stalled_s: float
    requests_without_underrun: float | None  # share of those that succeeded, 0 … 1
    audio_s: float
    window_s: float
    audio_s_per_s: float
    requests_per_s: float


def play(arrivals: Sequence[Arrival], prebuffer_s: float = 0.0) -> PlaybackGaps:
    """Play `arrivals` in real time.

    Playback starts with the first byte or, with a prebuffer, once `prebuffer_s` of audio is
    there or the answer has ended. After an underrun it resumes with the next byte.
    """
    held_s, start = 0.0, 0
    for start, arrival in enumerate(arrivals):  # noqa: B007  the last one starts it in any case
        held_s += arrival.audio_s
        if held_s >= prebuffer_s - ROUNDING_S:
            break
    if not arrivals:
        return PlaybackGaps(0, 0.0)
    played_out_s = arrivals[start].at_s + held_s
    underruns, stalled_s = 0, 0.0
    for arrival in arrivals[start + 1 :]:
        late_s = arrival.at_s - played_out_s
        if late_s > ROUNDING_S:
            underruns += 1
            stalled_s += late_s
            played_out_s = arrival.at_s
        played_out_s += arrival.audio_s
    return PlaybackGaps(underruns, stalled_s)


def gaps(arrivals: Sequence[Arrival]) -> list[float]:
    """Seconds from the end of each chunk's arrival to the start of the next chunk's."""
    times = [arrival.at_s for arrival in arrivals]
    steps = (later - earlier for earlier, later in pairwise(times))
    return [step for step in steps if step > SAME_CHUNK_S]


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest rank: the ⌈percent/100 · n⌉-th smallest of `values`, which must not be empty."""
    if not values:
        raise ValueError("no values to rank")
    rank = max(1, math.ceil(percent * len(values) / 100))
    return sorted(values)[rank - 1]


def percentiles(values: Iterable[float]) -> Percentiles | None:
    """p50, p90, p99 and the largest; None of no values."""
    ranked = sorted(values)
    if not ranked:
        return None
    p50, p90, p99 = (percentile(ranked, percent) for percent in (50, 90, 99))
    return Percentiles(p50, p90, p99, ranked[-1])


def summarize(traces: Sequence[RequestTrace], prebuffer_s: float = 0.0) -> Summary:
    """Figures of one level. A request that failed counts among the outcomes and nowhere else."""
    good = [trace for trace in traces if trace.ok]
    played = [play(trace.arrivals, prebuffer_s) for trace in good]
    window_s = 0.0
    if traces:
        first_sent_s = min(trace.sent_s for trace in traces)
        window_s = max(trace.ended_s for trace in traces) - first_sent_s
    audio_s = sum(trace.audio_s for trace in good)
    smooth = sum(not playback.underruns for playback in played)
    return Summary(
        requests=len(traces),
        failed=len(traces) - len(good),
        outcomes=dict(Counter(trace.outcome for trace in traces)),
        ttfa_s=percentiles(trace.ttfa_s for trace in good),
        latency_s=percentiles(trace.latency_s for trace in good),
        rtf=percentiles(trace.rtf for trace in good),
        gap_s=percentiles(gap for trace in good for gap in gaps(trace.arrivals)),
        underruns=sum(playback.underruns for playback in played),
        stalled_s=sum(playback.stalled_s for playback in played),
        requests_without_underrun=smooth / len(good) if good else None,
        audio_s=audio_s,
        window_s=window_s,
        audio_s_per_s=audio_s / window_s if window_s else 0.0,
        requests_per_s=len(good) / window_s if window_s else 0.0,
    )
