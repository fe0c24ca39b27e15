"""What crosses the socket of an interpreter: one type or function an event, OpenAI's names."""

from typing import Any, Literal

from pydantic import ConfigDict

from deployments.messages import OUTPUT_SAMPLE_RATE_HZ
from serve_app.http.realtime.client_events import Event, read_event
from serve_app.http.realtime.server_events import Json, event

FRAME_MS = 200  # of the clock that `elapsed_ms` counts


class SessionUpdate(Event):
    type: Literal["session.update"]
    session: dict[str, Any]


class AudioAppend(Event):
    """Base64 of s16le mono 24 kHz."""

    model_config = ConfigDict(str_max_length=None)

    type: Literal["session.input_audio_buffer.append"]
    audio: str


class SessionClose(Event):
    """What was said so far is interpreted to its end, and then the session is closed."""

    type: Literal["session.close"]


ClientEvent = SessionUpdate | AudioAppend | SessionClose
EVENTS: dict[str, type[Event]] = {
    "session.update": SessionUpdate,
    "session.input_audio_buffer.append": AudioAppend,
    "session.close": SessionClose,
}


def event_of(value: dict[str, Any]) -> ClientEvent:
    """The event that a JSON object is.

    Raises:
        Refused: its type is none, or a field is missing or wrong.
    """
    known_event: ClientEvent = read_event(value, EVENTS)
    return known_event


def input_transcript(delta: str, elapsed_ms: int) -> Json:
    """More of what the speaker says."""
    return event("session.input_transcript.delta", delta=delta, elapsed_ms=elapsed_ms)


def output_transcript(delta: str, elapsed_ms: int) -> Json:
    """More of what the interpreter says."""
    return event("session.output_transcript.delta", delta=delta, elapsed_ms=elapsed_ms)


def output_audio(delta: str, elapsed_ms: int) -> Json:
    """More of its sound: base64 of s16le mono 24 kHz."""
    return event(
        "session.output_audio.delta",
        delta=delta,
        format="pcm16",
        sample_rate=OUTPUT_SAMPLE_RATE_HZ,
        channels=1,
        elapsed_ms=elapsed_ms,
    )


def closed() -> Json:
    return event("session.closed")


def elapsed_ms(seconds: float) -> int:
    """A place in the speaker's sound by the clock of the events."""
    return int(seconds * 1000) // FRAME_MS * FRAME_MS
