"""What a client may send: one type an event, under OpenAI's names."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import ConfigDict, Field, ValidationError

from serve_app.http.body_checks import read_json
from serve_app.http.realtime.refusals import INVALID_VALUE, MISSING, Refused, refused
from serve_app.http.realtime.session_types import (
    MaxTokens,
    Modalities,
    SoundFormat,
    ToolChoice,
    Tools,
)
from serve_app.http.types import JsonObject, VoiceId, WholeNumber, at_most

MAX_ID_CHARS = 64
MAX_EVENT_ID_CHARS = 512
MAX_INPUT_ITEMS = 1024
MAX_METADATA, MAX_KEY_CHARS, MAX_VALUE_CHARS = 16, 64, 512  # OpenAI's

Id = Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARS)]
Metadata = Annotated[
    dict[
        Annotated[str, Field(max_length=MAX_KEY_CHARS)],
        Annotated[str, Field(max_length=MAX_VALUE_CHARS)],
    ]
    | None,
    at_most(MAX_METADATA),
]


class Event(JsonObject):
    event_id: str | None = None


class SessionUpdate(Event):
    type: Literal["session.update"]
    session: dict[str, Any]


class AudioAppend(Event):
    model_config = ConfigDict(str_max_length=None)

    type: Literal["input_audio_buffer.append"]
    audio: str


class AudioCommit(Event):
    type: Literal["input_audio_buffer.commit"]


class AudioClear(Event):
    type: Literal["input_audio_buffer.clear"]


class OutputClear(Event):
    """Of WebRTC alone; here the client holds the sound, so there is nothing to clear."""

    type: Literal["output_audio_buffer.clear"]


class Content(JsonObject):
    """A part of a message. The names of the API's earlier version are understood, too."""

    model_config = ConfigDict(str_max_length=None)

    type: Literal[
        "input_text", "input_audio", "output_text", "output_audio", "text", "audio", "input_image"
    ] = "input_text"
    text: str | None = None
    audio: str | None = None
    transcript: str | None = None


class Item(JsonObject):
    """What all items have; `type` says which of the fields count."""

    type: Literal["message", "function_call", "function_call_output", "item_reference"]
    id: Id | None = None
    role: Literal["user", "assistant", "system"] | None = None
    content: Annotated[list[Content], Field(max_length=MAX_INPUT_ITEMS)] | None = None
    call_id: Annotated[str, Field(max_length=MAX_ID_CHARS)] | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | None = None


class ItemCreate(Event):
    type: Literal["conversation.item.create"]
    previous_item_id: str | None = None
    item: Item


class ItemRetrieve(Event):
    type: Literal["conversation.item.retrieve"]
    item_id: str


class ItemDelete(Event):
    type: Literal["conversation.item.delete"]
    item_id: str


class ItemTruncate(Event):
    type: Literal["conversation.item.truncate"]
    item_id: str
    content_index: WholeNumber = Field(default=0, ge=0)
    audio_end_ms: WholeNumber = Field(ge=0)


class ResponseOutput(JsonObject):
    format: SoundFormat | None = None
    voice: str | VoiceId | None = None


class ResponseAudio(JsonObject):
    output: ResponseOutput | None = None


class ResponseFields(JsonObject):
    """What one response does otherwise than the session says."""

    conversation: Literal["auto", "none"] | None = None
    metadata: Metadata = None
    output_modalities: Modalities | None = None
    instructions: str | None = None
    audio: ResponseAudio | None = None
    tools: Tools | None = None
    tool_choice: ToolChoice | None = None
    max_output_tokens: MaxTokens | None = None
    input: Annotated[list[Item] | None, at_most(MAX_INPUT_ITEMS)] = None

    @property
    def output(self) -> ResponseOutput:
        return (self.audio and self.audio.output) or ResponseOutput()


class ResponseCreate(Event):
    type: Literal["response.create"]
    response: ResponseFields | None = None


class ResponseCancel(Event):
    type: Literal["response.cancel"]
    response_id: str | None = None


ClientEvent = (
    SessionUpdate
    | AudioAppend
    | AudioCommit
    | AudioClear
    | OutputClear
    | ItemCreate
    | ItemRetrieve
    | ItemDelete
    | ItemTruncate
    | ResponseCreate
    | ResponseCancel
)
EVENTS: dict[str, type[Event]] = {
    get_args(kind.model_fields["type"].annotation)[0]: kind for kind in get_args(ClientEvent)
}


def read_object(text: str | bytes) -> dict[str, Any]:
    """The JSON object of a frame.

    Raises:
        HTTPException: it is no JSON.
        Refused: it is no object.
    """
    value = read_json(text.encode() if isinstance(text, str) else text)
    if not isinstance(value, dict):
        raise Refused(INVALID_VALUE, "an event must be a JSON object")
    return value


def event_of(value: dict[str, Any]) -> ClientEvent:
    """The event that a JSON object is.

    Raises:
        Refused: its type is none, or a field is missing or wrong.
    """
    event: ClientEvent = read_event(value, EVENTS)
    return event


def read_event(value: dict[str, Any], events: Mapping[str, type[Event]]) -> Any:
    """The one of `events`, by their types, that a JSON object is. Raises as `event_of`."""
    kind = value.get("type")
    if kind is None:
        raise Refused(MISSING, "an event needs a type", "type")
    known = events.get(kind) if isinstance(kind, str) else None
    if known is None:
        shown = str(kind)[:MAX_ID_CHARS]
        raise Refused(INVALID_VALUE, f"there is no client event of type {shown!r}", "type")
    try:
        return known.model_validate(value)
    except ValidationError as error:
        raise refused(error) from None
