"""Every metric once: its name, unit, buckets and what it says. A new one joins `METRICS`."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """What is known of a metric before anything is recorded."""

    name: str
    kind: Kind
    unit: str
    sentence: str
    tags: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()  # upper limits, of a histogram alone

    @property
    def exported(self) -> str:
        """The name in Prometheus; of a histogram, that of its series without their endings."""
        return f"ray_{self.name}" + ("_total" if self.kind == "counter" else "")


FIRST_SOUND = Metric(
    "step_audio2_first_sound_seconds",
    "histogram",
    "s",
    "The time from the request of a spoken answer to its first sound, where a client listens while "
    "the answer is made.",
    buckets=(0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0),
)
REAL_TIME_FACTOR = Metric(
    "step_audio2_real_time_factor",
    "histogram",
    "1",
    "The time that a client waited for all parts of a spoken answer, divided by the time that the "
    "answer plays.",
    buckets=(0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.5, 2.0, 4.0),
)
UNDERRUNS = Metric(
    "step_audio2_underruns",
    "counter",
    "gaps",
    "Gaps that clients heard: they had played all that was sent before the next sound came.",
)
SILENCE = Metric(
    "step_audio2_silence_seconds",
    "histogram",
    "s",
    "The length of all gaps of one answer that a client listened to; most answers have none and "
    "count in the first bucket.",
    buckets=(0.001, 0.01, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0),
)
ANSWERS = Metric(
    "step_audio2_answers",
    "counter",
    "answers",
    "Answers by how they ended: `done`, `left` by their client, `invalid` requests, `refused` for "
    "lack of room, `failed`.",
    tags=("reply", "end"),
)
REFUSED = Metric(
    "step_audio2_answers_refused",
    "counter",
    "answers",
    "Answers that were refused: no `memory` or no `time` for one more stream, or the queue of a "
    "stage is `full`.",
    tags=("reason",),
)
RESUMED = Metric(
    "step_audio2_answers_resumed",
    "counter",
    "answers",
    "Answers that went on with another replica of a stage, by the name of the error that ended the "
    "attempt before.",
    tags=("stage", "cause"),
)
TOKENS = Metric(
    "step_audio2_tokens",
    "counter",
    "tokens",
    "Tokens of answers that reached their end: `prompt`, the `cached` ones among these, "
    "`completion`, and the `audio` ones among these.",
    tags=("kind",),
)
STREAMS_OPEN = Metric(
    "step_audio2_streams_open",
    "gauge",
    "streams",
    "Streams that are open in a replica of Token2Wav.",
)
STREAM_PLACES = Metric(
    "step_audio2_stream_places",
    "gauge",
    "streams",
    "Streams that a replica of Token2Wav has memory for.",
)
HEADROOM = Metric(
    "step_audio2_headroom",
    "gauge",
    "1",
    "The share of a replica that is free, whichever is less: places or time in Token2Wav, the "
    "batch or the KV cache in the Thinker. Below 0 chunks will be late, or requests wait.",
)
REPORTED = Metric(
    "step_audio2_reported_seconds",
    "gauge",
    "s",
    "When a replica took its figures, in seconds since 1970. They are exported some seconds later.",
)
STEP_ROWS = Metric(
    "step_audio2_step_rows",
    "histogram",
    "rows",
    "Streams that shared one step of Token2Wav.",
    buckets=(1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128),
)
STEP_TIME = Metric(
    "step_audio2_step_seconds",
    "histogram",
    "s",
    "The time of one step of Token2Wav.",
    buckets=(0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0),
)
CHUNKS = Metric(
    "step_audio2_chunks",
    "counter",
    "chunks",
    "Chunks that became sound in a step.",
)
LATE_CHUNKS = Metric(
    "step_audio2_late_chunk_seconds",
    "histogram",
    "s",
    "How much too late the sound of a chunk was for its listener; chunks in time do not count. The "
    "cause is the last thing that it waited for: `tokens`, a `step` to begin, or the step's `end`.",
    tags=("cause",),
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0),
)
VOICES_CACHED = Metric(
    "step_audio2_voices_cached",
    "gauge",
    "voices",
    "Voices that a replica of Token2Wav holds prepared, configured ones and others.",
)
VOICE_PREPARATION = Metric(
    "step_audio2_voice_preparation_seconds",
    "histogram",
    "s",
    "The time from a voice's recording to the voice, of each that was prepared.",
    buckets=(0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0),
)

METRICS: tuple[Metric, ...] = (
    FIRST_SOUND,
    REAL_TIME_FACTOR,
    UNDERRUNS,
    SILENCE,
    ANSWERS,
    REFUSED,
    RESUMED,
    TOKENS,
    STREAMS_OPEN,
    STREAM_PLACES,
    HEADROOM,
    REPORTED,
    STEP_ROWS,
    STEP_TIME,
    CHUNKS,
    LATE_CHUNKS,
    VOICES_CACHED,
    VOICE_PREPARATION,
)
