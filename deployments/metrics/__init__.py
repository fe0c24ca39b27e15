"""What is measured of answers and steps, and how it is recorded.

`definitions.py` has every metric, `recording.py` sends their values.

Ray's agent on each node exports them to Prometheus (docs/metrics.md). Ray puts `ray_` before the
names, `_total` behind those of counters, and adds the tags `deployment`, `replica` and
`application`.

A call takes some microseconds, so nothing is recorded for each token or each delta of an answer.
An observer adds up what belongs to one answer or one step, and records it at the end.
"""

from deployments.metrics.definitions import (
    ANSWERS,
    CHUNKS,
    FIRST_SOUND,
    HEADROOM,
    LATE_CHUNKS,
    METRICS,
    REAL_TIME_FACTOR,
    REFUSED,
    REPORTED,
    RESUMED,
    SILENCE,
    STEP_ROWS,
    STEP_TIME,
    STREAM_PLACES,
    STREAMS_OPEN,
    TOKENS,
    UNDERRUNS,
    VOICE_PREPARATION,
    VOICES_CACHED,
    Metric,
)
from deployments.metrics.recording import UNRECORDED, Recorder, ServeRecorder, Unrecorded, recorder

__all__ = [
    "ANSWERS",
    "CHUNKS",
    "FIRST_SOUND",
    "HEADROOM",
    "LATE_CHUNKS",
    "METRICS",
    "REAL_TIME_FACTOR",
    "REFUSED",
    "REPORTED",
    "RESUMED",
    "SILENCE",
    "STEP_ROWS",
    "STEP_TIME",
    "STREAMS_OPEN",
    "STREAM_PLACES",
    "TOKENS",
    "UNDERRUNS",
    "UNRECORDED",
    "VOICES_CACHED",
    "VOICE_PREPARATION",
    "Metric",
    "Recorder",
    "ServeRecorder",
    "Unrecorded",
    "recorder",
]
