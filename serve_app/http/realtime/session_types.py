"""The fields of a session under OpenAI's names, with this server's defaults."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator

from serve_app.http.types import UNNAMED, JsonObject, VoiceId, WholeNumber, at_most

PCM_RATE_HZ = 24_000
MAX_TOOLS = 128
MAX_OUTPUT_TOKENS = 4096
SLOWEST, FASTEST = 0.25, 1.5
MAX_PADDING_MS, MAX_SILENCE_MS = 5_000, 10_000
MIN_IDLE_MS, MAX_IDLE_MS = 5_000, 30_000

Modality = Literal["text", "audio"]


class SoundFormat(JsonObject):
    """How sound is coded on the socket; pcm is s16le of 24 kHz, the others have 8 kHz."""

    type: Literal["audio/pcm", "audio/pcmu", "audio/pcma"] = "audio/pcm"
    rate: WholeNumber | None = None

    @field_validator("rate")
    @classmethod
    def _is_the_rate(cls, rate: int | None, info: Any) -> int | None:
        is_pcm = info.data.get("type", "audio/pcm") == "audio/pcm"
        if is_pcm and rate not in (None, PCM_RATE_HZ):
            raise ValueError(f"audio/pcm has a rate of {PCM_RATE_HZ}")
        return PCM_RATE_HZ if is_pcm else None

    @property
    def told(self) -> dict[str, Any]:
        """As a session shows it."""
        if self.type == "audio/pcm":
            return {"type": self.type, "rate": PCM_RATE_HZ}
        return {"type": self.type}


class NoiseReduction(JsonObject):
    """Taken and shown, without effect: recordings are heard as they come."""

    type: Literal["near_field", "far_field"] | None = None
    strength: float | None = None


class Transcription(JsonObject):
    """How what is said is written down; the model recognizes the language by itself."""

    model: str | None = None
    language: str | None = None
    languages: Annotated[list[str] | None, at_most(64)] = None
    prompt: str | None = None
    keywords: Annotated[list[str] | None, at_most(256)] = None
    delay: Literal["minimal", "low", "medium", "high", "xhigh"] | None = None


class Detection(JsonObject):
    """What both kinds of turn detection have in common."""

    create_response: bool = True
    interrupt_response: bool = True


class ServerVadFields(Detection):
    type: Literal["server_vad"] = "server_vad"
    threshold: float = Field(default=0.5, ge=0, le=1)
    prefix_padding_ms: WholeNumber = Field(default=300, ge=0, le=MAX_PADDING_MS)
    silence_duration_ms: WholeNumber = Field(default=500, ge=0, le=MAX_SILENCE_MS)
    idle_timeout_ms: WholeNumber | None = Field(default=None, ge=MIN_IDLE_MS, le=MAX_IDLE_MS)


class SemanticVadFields(Detection):
    type: Literal["semantic_vad"]
    eagerness: Literal["low", "medium", "high", "auto"] = "auto"


def _kind(value: Any) -> str:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return UNNAMED + ("semantic" if kind == "semantic_vad" else "server")


TurnFields = Annotated[
    Annotated[ServerVadFields, Tag(f"{UNNAMED}server")]
    | Annotated[SemanticVadFields, Tag(f"{UNNAMED}semantic")],
    Discriminator(_kind),
]


def _off(value: Any) -> Any:
    """Pipecat turns turn detection off by `false`."""
    return None if value is False else value


class InputFields(JsonObject):
    format: SoundFormat | None = None
    noise_reduction: NoiseReduction | None = None
    transcription: Transcription | None = None
    turn_detection: Annotated[TurnFields | None, BeforeValidator(_off)] = Field(
        default_factory=ServerVadFields
    )


class OutputFields(JsonObject):
    format: SoundFormat | None = None
    voice: str | VoiceId | None = None
    speed: float | None = Field(default=None, ge=SLOWEST, le=FASTEST)


class AudioFields(JsonObject):
    input: InputFields | None = None
    output: OutputFields | None = None


class FunctionTool(JsonObject):
    type: Literal["function"]
    name: str = Field(min_length=1, max_length=128)
    description: str | None = None
    parameters: dict[str, Any] | None = None


class NamedFunction(JsonObject):
    type: Literal["function"]
    name: str


ToolChoice = Literal["none", "auto", "required"] | NamedFunction
Tools = Annotated[list[FunctionTool], Field(max_length=MAX_TOOLS)]
MaxTokens = Annotated[WholeNumber, Field(ge=1, le=MAX_OUTPUT_TOKENS)] | Literal["inf"]


class TokenLimits(JsonObject):
    post_instructions: WholeNumber | None = Field(default=None, ge=0)


class RetentionRatio(JsonObject):
    type: Literal["retention_ratio"]
    retention_ratio: float = Field(ge=0, le=1)
    token_limits: TokenLimits | None = None


Truncation = Literal["auto", "disabled"] | RetentionRatio
Modalities = Annotated[list[Modality], Field(min_length=1, max_length=2)]


class SessionFields(JsonObject):
    """A session; every field that is None has the server's default."""

    type: Literal["realtime", "transcription"] = "realtime"
    model: str | None = None
    instructions: str | None = None
    output_modalities: Modalities | None = None
    audio: AudioFields | None = None
    tools: Tools | None = None
    tool_choice: ToolChoice | None = None
    max_output_tokens: MaxTokens | None = None
    truncation: Truncation | None = None
    tracing: Any = None
    include: Annotated[list[str] | None, at_most(16)] = None
    prompt: Any = None

    @property
    def input(self) -> InputFields:
        return (self.audio and self.audio.input) or InputFields()

    @property
    def output(self) -> OutputFields:
        return (self.audio and self.audio.output) or OutputFields()
