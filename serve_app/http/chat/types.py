"""The HTTP surface's types of chat completions, under OpenAI's names."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BeforeValidator,
    FailFast,
    Field,
    GetJsonSchemaHandler,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from deployments.messages import SamplingOptions, Usage
from serve_app.http.types import (
    ApiAnswer,
    AskedVoice,
    InputAudio,
    JsonObject,
    JsonRequest,
    WholeNumber,
    at_most,
)

# OpenAI takes 4, others more. Each is looked for at every token, where all streams wait for it.
MAX_STOP_STRINGS = 16
# The model divides and multiplies in float32: what is smaller or larger makes no finite logits.
MIN_TOP_P, MIN_PENALTY, MAX_PENALTY = 1e-6, 0.01, 100
MAX_TOOLS = 128  # OpenAI's limit
MAX_MODALITIES, MAX_BIASES = 8, 1024
# Each message is five tokens or more, whatever it says.
MAX_MESSAGES, MAX_PARTS = 4096, 1024
NULL = {"type": "null"}


class _Variant(JsonObject):
    """An object whose `type` names the field that it brings."""

    type: str

    bring: ClassVar[frozenset[str]]  # types that have a field of their own name

    @model_validator(mode="after")
    def _holds_what_it_names(self) -> Self:
        if self.type in self.bring and getattr(self, self.type) is None:
            raise ValueError(f"an object of type {self.type!r} needs the field {self.type!r}")
        return self

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Of the fields, and of what the type asks for."""
        json_schema = handler.resolve_ref_schema(handler(schema))
        json_schema["allOf"] = [_needed_by(type_) for type_ in sorted(cls.bring)]
        return json_schema


def _needed_by(type_: str) -> JsonSchemaValue:
    named = {"properties": {"type": {"const": type_}}}
    return {"if": named, "then": {"required": [type_], "properties": {type_: {"not": NULL}}}}


class ContentPart(_Variant):
    type: Literal["text", "input_audio", "refusal"]
    text: str | None = None
    refusal: str | None = None
    input_audio: InputAudio | None = None

    bring: ClassVar[frozenset[str]] = frozenset({"text", "input_audio", "refusal"})


def _as_parts(content: Any) -> Any:
    if content is None:
        return []
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


Content = Annotated[
    list[ContentPart],
    Field(max_length=MAX_PARTS),
    FailFast(),
    BeforeValidator(_as_parts, json_schema_input_type=str | list[ContentPart] | None),
]


class AudioId(JsonObject):
    id: str


class FunctionCall(JsonObject):
    name: str
    arguments: str


class ToolCallIn(JsonObject):
    id: str
    type: Literal["function"] = "function"
    function: FunctionCall


class ChatMessage(JsonObject):
    """A turn of the conversation; which fields count depends on its role."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Content = Field(default=[])
    audio: AudioId | None = None  # an assistant's: the spoken answer of that id
    tool_calls: Annotated[list[ToolCallIn], Field(max_length=MAX_TOOLS)] | None = None
    tool_call_id: str | None = None


class Function(JsonObject):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(JsonObject):
    type: Literal["function"]
    function: Function


class AudioOutput(JsonObject):
    format: Literal["wav", "aac", "mp3", "flac", "opus", "pcm16"]
    voice: AskedVoice | None = None


class StreamOptions(JsonObject):
    include_usage: bool = False


class JsonSchemaFormat(JsonObject):
    name: str | None = None
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")  # None: any object


class ResponseFormat(_Variant):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaFormat | None = None

    bring: ClassVar[frozenset[str]] = frozenset({"json_schema"})


class FunctionName(JsonObject):
    name: str


class NamedTool(JsonObject):
    type: Literal["function"]
    function: FunctionName


class AllowedTools(JsonObject):
    mode: Literal["auto", "required"]
    tools: list[NamedTool] = Field(min_length=1)


class ToolChoice(_Variant):
    """A mode, one function, or some of the tools with a mode of their own."""

    type: Literal["none", "auto", "required", "function", "allowed_tools"]
    function: FunctionName | None = None
    allowed_tools: AllowedTools | None = None

    bring: ClassVar[frozenset[str]] = frozenset({"function", "allowed_tools"})


def _as_choice(choice: Any) -> Any:
    return {"type": choice} if isinstance(choice, str) else choice


Mode = Literal["none", "auto", "required"]


class ChatBody(JsonRequest):
    """`POST /v1/chat/completions`."""

    honoured: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "n": (1,),
        "logprobs": (False,),
        "top_logprobs": (0,),
        "logit_bias": ({},),
        "frequency_penalty": (0,),
        "presence_penalty": (0,),
        "functions": ([],),
        "function_call": ("none",),
        "prediction": (),
        "web_search_options": (),
        "moderation": (),
        "reasoning_effort": (),
        "verbosity": ("medium",),
    }
    without_effect: ClassVar[frozenset[str]] = frozenset(
        {
            "metadata",
            "prompt_cache_key",
            "prompt_cache_options",
            "prompt_cache_retention",
            "safety_identifier",
            "store",
            "user",
        }
    )

    model: str
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MAX_MESSAGES), FailFast()]
    modalities: list[Literal["text", "audio"]] | None = Field(
        default=None, min_length=1, max_length=MAX_MODALITIES
    )
    audio: AudioOutput | None = None
    tools: Annotated[list[Tool], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: Annotated[
        ToolChoice | None,
        BeforeValidator(_as_choice, json_schema_input_type=Mode | ToolChoice | None),
    ] = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=MIN_TOP_P, le=1)
    # Not OpenAI's, but what other servers call the model's own penalty.
    repetition_penalty: float | None = Field(default=None, ge=MIN_PENALTY, le=MAX_PENALTY)
    max_tokens: WholeNumber | None = Field(default=None, ge=1)
    max_completion_tokens: WholeNumber | None = Field(default=None, ge=1)
    seed: WholeNumber | None = Field(default=None, ge=-(2**63), lt=2**63)
    stop: Annotated[str | list[str] | None, at_most(MAX_STOP_STRINGS)] = None

    n: WholeNumber | None = None
    logprobs: bool | None = None
    top_logprobs: WholeNumber | None = None
    logit_bias: Annotated[dict[str, float] | None, at_most(MAX_BIASES)] = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    functions: Any = None
    function_call: Any = None
    prediction: Any = None
    web_search_options: Any = None
    moderation: Any = None
    reasoning_effort: str | None = None
    verbosity: str | None = None

    @property
    def spoken(self) -> bool:
        """Whether the answer is to be spoken."""
        return "audio" in (self.modalities or ())

    @property
    def wants_json(self) -> bool:
        """Whether the answer is to be JSON."""
        return self.response_format is not None and self.response_format.type != "text"

    @property
    def stop_strings(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    def sampling(self) -> SamplingOptions:
        return SamplingOptions(
            temperature=self.temperature,
            top_p=self.top_p,
            repetition_penalty=self.repetition_penalty,
            max_tokens=self.max_completion_tokens or self.max_tokens,
            seed=self.seed,
            stop=self.stop_strings,
        )


class ToolCallOut(ApiAnswer):
    index: int | None = None  # in a stream only
    id: str
    type: Literal["function"] = "function"
    function: FunctionCall


class AudioAnswer(ApiAnswer):
    """A spoken answer; a stream brings its fields one by one."""

    id: str | None = None
    data: str | None = None  # base64
    expires_at: int | None = None  # Unix time, seconds
    transcript: str | None = None


class AnswerMessage(ApiAnswer):
    """The answer of a whole completion, or a piece of it in a stream."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    reasoning_content: str | None = None
    audio: AudioAnswer | None = None
    tool_calls: list[ToolCallOut] | None = None


class WholeMessage(AnswerMessage):
    nullable: ClassVar[frozenset[str]] = frozenset({"content", "refusal"})

    refusal: None = None


class PromptDetails(ApiAnswer):
    audio_tokens: int
    cached_tokens: int


class CompletionDetails(ApiAnswer):
    audio_tokens: int
    reasoning_tokens: int


class CompletionUsage(ApiAnswer):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    completion_tokens_details: CompletionDetails

    @classmethod
    def of(cls, usage: Usage) -> Self:
        return cls(
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            total_tokens=usage.prompt_tokens + usage.completion_tokens,
            prompt_tokens_details=PromptDetails(
                audio_tokens=usage.prompt_audio_tokens, cached_tokens=usage.cached_prompt_tokens
            ),
            completion_tokens_details=CompletionDetails(
                audio_tokens=usage.audio_tokens, reasoning_tokens=usage.reasoning_tokens
            ),
        )


FinishReason = Literal["stop", "length", "tool_calls"]


class Choice(ApiAnswer):
    nullable: ClassVar[frozenset[str]] = frozenset({"logprobs"})

    index: int = 0
    message: WholeMessage
    finish_reason: FinishReason
    logprobs: None = None


class ChunkChoice(ApiAnswer):
    nullable: ClassVar[frozenset[str]] = frozenset({"finish_reason"})

    index: int = 0
    delta: AnswerMessage
    finish_reason: FinishReason | None = None


class ChatCompletion(ApiAnswer):
    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: CompletionUsage
    service_tier: Literal["default", "flex"] | None = None


class ChatChunk(ApiAnswer):
    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: CompletionUsage | None = None
    service_tier: Literal["default", "flex"] | None = None
