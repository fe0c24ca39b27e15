"""What the types of several resources have in common, under OpenAI's names.

Unknown fields of a request are ignored. A known one that cannot be honoured is refused: each
request class lists, in `honoured`, the only values of such fields that change nothing. Those that
change nothing whatever their value stand in `without_effect`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    SerializerFunctionWrapHandler,
    Tag,
    model_serializer,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from deployments.errors import UnsupportedRequest
from deployments.messages import Usage
from deployments.priority import Priority

# No model's context holds so much text. To read 20 MB takes the event loop half a second.
MAX_TEXT_CHARS = 1 << 20


class ApiRequest(BaseModel):
    """A request's body."""

    model_config = ConfigDict(allow_inf_nan=False)

    honoured: ClassVar[Mapping[str, tuple[Any, ...]]] = {}
    without_effect: ClassVar[frozenset[str]] = frozenset()

    def refuse_unsupported(self) -> None:
        """Raise UnsupportedRequest that names the first field which asks for too much."""
        for name, values in self.honoured.items():
            value = getattr(self, name)
            if value is not None and value not in values:
                field = type(self).model_fields[name].alias or name
                raise UnsupportedRequest(f"{field}={value!r} is not supported", param=field)


class TieredRequest(ApiRequest):
    """A body that may let others go first. No tier goes before what asks for none."""

    service_tier: Literal["auto", "default", "flex", "scale", "priority"] | None = None

    @property
    def priority(self) -> Priority:
        """Of all that the graph does for this request."""
        return "background" if self.service_tier == "flex" else "live"

    @property
    def served_tier(self) -> Literal["default", "flex"] | None:
        """What the answer says of the tier; nothing where none was asked for."""
        if self.service_tier is None:
            return None
        return "flex" if self.service_tier == "flex" else "default"


class JsonObject(BaseModel):
    """An object of a JSON body: `true` is no number in it, and "1" neither."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False, str_max_length=MAX_TEXT_CHARS)


class JsonRequest(TieredRequest, JsonObject):
    """A request's body in JSON; a form has nothing but text."""


MOST_EXACT = 2**53  # a larger float may stand for its neighbours, too


def _whole(number: Any) -> Any:
    if isinstance(number, float) and number.is_integer() and abs(number) <= MOST_EXACT:
        return int(number)
    return number


WholeNumber = Annotated[int, BeforeValidator(_whole)]
"""An integer of a JSON body, which may be written as 1.0."""


def at_most(limit: int) -> BeforeValidator:
    """Refuses a longer list or object before its items are looked at: each one's error takes time.

    Pydantic counts a list by itself, but not in a union, and an object after its items.
    """

    def refuse_more(value: Any) -> Any:
        if isinstance(value, list | dict) and len(value) > limit:
            raise ValueError(f"at most {limit} items, not {len(value)}")
        return value

    return BeforeValidator(refuse_more)


class ApiAnswer(BaseModel):
    """A body that leaves out fields without a value, but for those in `nullable`."""

    nullable: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _omit_none(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = serialize(self).items()
        return {key: value for key, value in fields if value is not None or key in self.nullable}

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Of the fields: of a serializer pydantic knows nothing but that it gives an object."""
        fields: Any = {key: value for key, value in schema.items() if key != "serialization"}
        return handler(fields)


class InputAudio(JsonObject):
    """A recording."""

    model_config = ConfigDict(str_max_length=None)

    data: str = Field(description="Base64 of a file.")
    format: str = Field(description="Any: the file itself says which it is.")


class VoiceId(JsonObject):
    """A voice by its id or name."""

    id: str


class VoiceAudio(JsonObject):
    """Not OpenAI's: a voice of this request alone, from a recording that comes with it."""

    audio: InputAudio


def _kind_of_voice(voice: Any) -> str:
    if not isinstance(voice, dict):
        return UNNAMED + "name"
    return UNNAMED + ("recording" if "audio" in voice else "id")


UNNAMED = "<>"  # begins the names of a union's members, which no error repeats
AskedVoice = Annotated[
    Annotated[str, Tag(f"{UNNAMED}name")]
    | Annotated[VoiceId, Tag(f"{UNNAMED}id")]
    | Annotated[VoiceAudio, Tag(f"{UNNAMED}recording")],
    Discriminator(_kind_of_voice),
]
"""What a request may give as its voice."""


def voice_name(voice: str | VoiceId | None) -> str | None:
    """The name that a request gives its voice; None asks for the default one."""
    return voice.id if isinstance(voice, VoiceId) else voice


class TokenUsage(ApiAnswer):
    input_tokens: int
    output_tokens: int
    total_tokens: int

    @classmethod
    def of(cls, usage: Usage) -> Self:
        return cls(
            input_tokens=usage.prompt_tokens,
            output_tokens=usage.completion_tokens,
            total_tokens=usage.prompt_tokens + usage.completion_tokens,
        )


class ErrorDetail(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """Every error's body."""

    error: ErrorDetail


class ErrorEvent(ErrorBody):
    """The last event of a stream that breaks off."""

    type: Literal["error"]
