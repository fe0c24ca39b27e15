"""`chunking_strategy`: "auto", or an object of type `server_vad` in any way that forms write it."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deployments.errors import UnsupportedRequest
from serve_app.sound.recording_pieces import Cutting
from serve_app.sound.voice_activity import SpeechRule

PARAM = "chunking_strategy"
Milliseconds = Annotated[int, Field(ge=0, le=5000)]


class ServerVad(BaseModel):
    """OpenAI's object; what it leaves out is as with "auto"."""

    model_config = ConfigDict(allow_inf_nan=False)

    type: Literal["server_vad"]
    threshold: float = Field(default=Cutting().rule.threshold, ge=0, le=1)
    prefix_padding_ms: Milliseconds = Cutting().padding_ms
    silence_duration_ms: Milliseconds = Cutting().rule.silence_ms

    def cutting(self) -> Cutting:
        rule = SpeechRule(self.threshold, self.silence_duration_ms)
        return Cutting(rule, self.prefix_padding_ms)


def cutting_of(whole: str | None, fields: Mapping[str, str]) -> Cutting | None:
    """How a request wants its recording cut; None leaves that to the server.

    Args:
        whole: the field `chunking_strategy`: "auto", or the object as JSON.
        fields: its fields where each is one of the form, as OpenAI's client sends them.

    Raises:
        UnsupportedRequest: it is another strategy, or one of its values cannot be.
    """
    if not fields and whole in (None, "auto"):
        return None
    try:
        if whole is not None and not fields:
            return ServerVad.model_validate_json(whole).cutting()
        return ServerVad.model_validate(fields).cutting()
    except ValidationError as error:
        raise UnsupportedRequest(_complaint(error), param=PARAM) from None


def _complaint(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    place = "".join(f"[{step}]" for step in first["loc"])
    if not place:
        return f'{PARAM} is not supported: it must be "auto" or an object of type server_vad'
    return f"{PARAM}{place} is not supported: {first['msg']}"
