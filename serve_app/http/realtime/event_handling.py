"""What a session does with any client event: handle it, or answer it with an error."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from serve_app.http.errors import log_if_ours
from serve_app.http.realtime import server_events as events
from serve_app.http.realtime.client_events import MAX_EVENT_ID_CHARS
from serve_app.http.realtime.outbox import Outbox
from serve_app.http.realtime.refusals import error_of

Handler = Callable[[Any], Coroutine[Any, Any, None]]


async def handled(
    value: dict[str, Any],
    event_of: Callable[[dict[str, Any]], Any],
    handlers: Mapping[type, Handler],
    outbox: Outbox,
) -> bool:
    """Do what a client event says, or answer it with an error. Whether it was done.

    Args:
        event_of: the event that a JSON object is; it refuses one that is none.
        handlers: what each type of event does.
        outbox: takes the error.
    """
    try:
        event = event_of(value)
        await handlers[type(event)](event)
    except Exception as error:
        log_if_ours(error)
        refuse(outbox, error, value.get("event_id"))
        return False
    return True


def refuse(outbox: Outbox, error: BaseException, event_id: Any = None) -> None:
    """Answer the event of that id with an error; what is no id is left out."""
    named = event_id[:MAX_EVENT_ID_CHARS] if isinstance(event_id, str) else None
    outbox.put(events.error(error_of(error), named))
