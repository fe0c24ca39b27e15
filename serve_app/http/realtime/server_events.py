"""What the server sends: one function an event, under OpenAI's names."""

from collections.abc import Mapping
from typing import Any

from serve_app.http.realtime.ids import new_id

Json = dict[str, Any]


def event(kind: str, **fields: Any) -> Json:
    """An event with an id of its own."""
    return {"type": kind, "event_id": new_id("event"), **fields}


def error(details: Mapping[str, Any], event_id: str | None) -> Json:
    """`details` has `type`, `code`, `message` and `param`; `event_id` names the client's event."""
    return event("error", error={**details, "event_id": event_id})


def session(kind: str, told: Json) -> Json:
    """`created` or `updated`."""
    return event(f"session.{kind}", session=told)


def item_added(item: Json, previous_item_id: str | None) -> Json:
    return event("conversation.item.added", item=item, previous_item_id=previous_item_id)


def item_done(item: Json, previous_item_id: str | None) -> Json:
    return event("conversation.item.done", item=item, previous_item_id=previous_item_id)


def item_retrieved(item: Json) -> Json:
    return event("conversation.item.retrieved", item=item)


def item_deleted(item_id: str) -> Json:
    return event("conversation.item.deleted", item_id=item_id)


def item_truncated(item_id: str, content_index: int, audio_end_ms: int) -> Json:
    return event(
        "conversation.item.truncated",
        item_id=item_id,
        content_index=content_index,
        audio_end_ms=audio_end_ms,
    )


def committed(item_id: str, previous_item_id: str | None) -> Json:
    return event("input_audio_buffer.committed", item_id=item_id, previous_item_id=previous_item_id)


def cleared() -> Json:
    return event("input_audio_buffer.cleared")


def speech_started(item_id: str, audio_start_ms: int) -> Json:
    return event(
        "input_audio_buffer.speech_started", item_id=item_id, audio_start_ms=audio_start_ms
    )


def speech_stopped(item_id: str, audio_end_ms: int) -> Json:
    return event("input_audio_buffer.speech_stopped", item_id=item_id, audio_end_ms=audio_end_ms)


def timeout_triggered(item_id: str, audio_start_ms: int, audio_end_ms: int) -> Json:
    return event(
        "input_audio_buffer.timeout_triggered",
        item_id=item_id,
        audio_start_ms=audio_start_ms,
        audio_end_ms=audio_end_ms,
    )


def transcription(kind: str, item_id: str, **fields: Any) -> Json:
    """`delta`, `completed` or `failed`, of what the user said."""
    return event(
        f"conversation.item.input_audio_transcription.{kind}",
        item_id=item_id,
        content_index=0,
        **fields,
    )


def response(kind: str, told: Json) -> Json:
    """`created` or `done`."""
    return event(f"response.{kind}", response=told)


def rate_limits(limit: int, remaining: int, reset_s: float) -> Json:
    """What is left of a key's requests."""
    requests = {
        "name": "requests",
        "limit": limit,
        "remaining": remaining,
        "reset_seconds": reset_s,
    }
    return event("rate_limits.updated", rate_limits=[requests])


def of_response(kind: str, response_id: str, output_index: int, **fields: Any) -> Json:
    """An event about one item of a response, such as `output_item.added`."""
    return event(f"response.{kind}", response_id=response_id, output_index=output_index, **fields)
