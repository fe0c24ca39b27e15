"""The frames of the socket, under the names that vLLM-Omni and SGLang-Omni use."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from fastapi.exceptions import RequestValidationError
from pydantic import Field, ValidationError
from starlette.exceptions import HTTPException

from serve_app.http.body_checks import read_json
from serve_app.http.errors import error_answer
from serve_app.http.speech.types import Manner
from serve_app.http.types import ApiAnswer, ErrorDetail, JsonObject, TokenUsage

Status = Literal["completed", "cancelled", "failed"]


class SessionConfig(Manner):
    """How everything is spoken that comes from now on; the first frame."""

    model: str | None = None
    # Not OpenAI's: how sound is sent.
    stream_format: Literal["audio", "json"] = Field(
        default="audio", description="Binary frames, or base64 in `audio.delta`."
    )
    split_granularity: str | None = None
    word_timestamps: bool | None = None

    honoured: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "split_granularity": ("sentence",),
        "word_timestamps": (False,),
    }


class InputText(JsonObject):
    """The next piece of the text, of any length."""

    text: str


class InputDone(JsonObject):
    """The text is complete. What comes next begins another one."""


class InputCancel(JsonObject):
    """Nothing of what was sent so far shall be spoken any more."""


class SessionClose(JsonObject):
    """Nothing more will come; what was sent is not spoken to its end."""


ClientFrame = SessionConfig | InputText | InputDone | InputCancel | SessionClose
FRAMES: Mapping[str, type[ClientFrame]] = {
    "session.config": SessionConfig,
    "input.text": InputText,
    "input.done": InputDone,
    "input.cancel": InputCancel,
    "session.close": SessionClose,
}


def read_frame(data: str) -> ClientFrame:
    """The frame that a client sent.

    Raises:
        HTTPException, RequestValidationError: it is none of `FRAMES`; both name the field.
        UnsupportedRequest: it asks for what is not served.
    """
    value = read_json(data.encode("utf-8", "surrogatepass"))
    kind = value.get("type") if isinstance(value, dict) else None
    frame = FRAMES.get(kind) if isinstance(kind, str) else None
    if frame is None:
        known = ", ".join(FRAMES)
        message = f"the frame must be a JSON object whose type is one of {known}"
        raise HTTPException(400, {"message": message, "param": "type", "code": "invalid_value"})  # type: ignore[arg-type]
    nested = value.get("session")  # SGLang-Omni's clients put the fields of a config there
    if frame is SessionConfig and isinstance(nested, dict):
        value = nested
    try:
        read = frame.model_validate(value)
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from None
    if isinstance(read, SessionConfig):
        read.refuse_unsupported()
    return read


class SessionConfigured(ApiAnswer):
    type: Literal["session.configured"] = "session.configured"
    session_id: str
    response_format: str
    stream_format: str
    split_granularity: Literal["sentence"] = "sentence"
    sample_rate: int


class AudioStart(ApiAnswer):
    """The sound of the next sentences begins."""

    type: Literal["audio.start"] = "audio.start"
    utterance_index: int
    sentence_index: int
    sentence_text: str
    format: str
    sample_rate: int
    channels: Literal[1] = 1
    start_s: float  # sound of the utterance before


class AudioDelta(ApiAnswer):
    """Sound, where it is not sent as binary frames."""

    type: Literal["audio.delta"] = "audio.delta"
    utterance_index: int
    sentence_index: int
    delta: str  # base64


class AudioDone(ApiAnswer):
    type: Literal["audio.done"] = "audio.done"
    utterance_index: int
    sentence_index: int
    total_bytes: int
    error: bool = False


class SessionDone(ApiAnswer):
    """All of an utterance was sent, or no more of it will be."""

    type: Literal["session.done"] = "session.done"
    utterance_index: int
    total_sentences: int
    status: Status
    usage: TokenUsage


class ErrorFrame(ApiAnswer):
    nullable: ClassVar[frozenset[str]] = frozenset({"param", "code"})

    type: Literal["error"] = "error"
    message: str  # the error's own, where those clients look for it
    error: ErrorDetail

    @classmethod
    def of(cls, error: BaseException) -> "ErrorFrame":
        """`error` as HTTP would answer it."""
        detail = ErrorDetail(**error_answer(error).body["error"])
        return cls(message=detail.message, error=detail)


ServerFrame = SessionConfigured | AudioStart | AudioDelta | AudioDone | SessionDone | ErrorFrame
