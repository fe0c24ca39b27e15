"""What the types of several resources have in common, under OpenAI's names.

Unknown fields of a request are ignored. A known one that cannot be honoured is refused: each
request class lists, in `honoured`, the only values of such fields that change nothing. Those that
change nothing whatever their value stand in `without_effect`.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

from deployments.errors import UnsupportedRequest
from deployments.messages import Usage
from deployments.priority import Priority


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


class ApiAnswer(BaseModel):
    """A body that leaves out fields without a value, but for those in `nullable`."""

    nullable: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _omit_none(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = serialize(self).items()
        return {key: value for key, value in fields if value is not None or key in self.nullable}


class VoiceId(BaseModel):
    id: str


VoiceName = str | VoiceId


def voice_name(voice: VoiceName | None) -> str | None:
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
