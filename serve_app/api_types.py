"""The HTTP surface's types of speech, transcription and models, under OpenAI's names.

Unknown fields of a request are ignored. A known one that cannot be honoured is refused: each
request class lists, in `honoured`, the only values of such fields that change nothing.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from fastapi import UploadFile
from pydantic import BaseModel, Field, SerializerFunctionWrapHandler, model_serializer

from deployments.errors import UnsupportedRequest
from deployments.messages import Usage


class ApiRequest(BaseModel):
    """A request's body."""

    honoured: ClassVar[Mapping[str, tuple[Any, ...]]] = {}

    def refuse_unsupported(self) -> None:
        """Raise UnsupportedRequest that names the first field which asks for too much."""
        for name, values in self.honoured.items():
            value = getattr(self, name)
            if value is not None and value not in values:
                told = type(self).model_fields[name].alias or name
                raise UnsupportedRequest(f"{told}={value!r} is not supported", param=told)


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


class SpeechBody(ApiRequest):
    """`POST /v1/audio/speech`."""

    honoured: ClassVar[Mapping[str, tuple[Any, ...]]] = {"speed": (1,)}

    model: str
    input: str = Field(min_length=1)
    voice: VoiceName | None = None
    instructions: str | None = None
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] = "mp3"
    speed: Annotated[float, Field(ge=0.25, le=4)] | None = None
    stream_format: Literal["audio", "sse"] = "audio"


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


class SpeechAudioDelta(ApiAnswer):
    type: Literal["speech.audio.delta"] = "speech.audio.delta"
    audio: str  # base64


class SpeechAudioDone(ApiAnswer):
    type: Literal["speech.audio.done"] = "speech.audio.done"
    usage: TokenUsage


TranscriptFormat = Literal["json", "text", "srt", "vtt", "verbose_json", "diarized_json"]


class TranslationForm(ApiRequest):
    """`POST /v1/audio/translations`, as a multipart form."""

    honoured: ClassVar[Mapping[str, tuple[Any, ...]]] = {"response_format": ("json", "text")}

    file: UploadFile
    model: str
    prompt: str | None = None
    response_format: TranscriptFormat = "json"
    temperature: float | None = Field(default=None, ge=0, le=2)
    stream: bool = False


class TranscriptionForm(TranslationForm):
    """`POST /v1/audio/transcriptions`, as a multipart form."""

    honoured: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "response_format": ("json", "text"),
        "chunking_strategy": ("auto",),
        "chunking_strategy_type": (),
        "include": ([],),
        "timestamp_granularities": ([],),
        "keywords": ([],),
        "languages": ([],),
        "known_speaker_names": ([],),
        "known_speaker_references": ([],),
    }

    language: str | None = None
    chunking_strategy: str | None = None
    chunking_strategy_type: str | None = Field(default=None, alias="chunking_strategy[type]")
    include: list[str] = Field(default=[], alias="include[]")
    timestamp_granularities: list[str] = Field(default=[], alias="timestamp_granularities[]")
    keywords: list[str] = Field(default=[], alias="keywords[]")
    languages: list[str] = Field(default=[], alias="languages[]")
    known_speaker_names: list[str] = Field(default=[], alias="known_speaker_names[]")
    known_speaker_references: list[str] = Field(default=[], alias="known_speaker_references[]")


class TranscriptUsage(TokenUsage):
    type: Literal["tokens"] = "tokens"


class Transcription(ApiAnswer):
    text: str
    usage: TranscriptUsage


class TranscriptDelta(ApiAnswer):
    type: Literal["transcript.text.delta"] = "transcript.text.delta"
    delta: str


class TranscriptDone(ApiAnswer):
    type: Literal["transcript.text.done"] = "transcript.text.done"
    text: str
    usage: TranscriptUsage


class Model(ApiAnswer):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str


class ModelList(ApiAnswer):
    object: Literal["list"] = "list"
    data: list[Model]


class ErrorDetail(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """Every error's body."""

    error: ErrorDetail
