"""The HTTP surface's types of chat completions, under OpenAI's names."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from deployments.messages import SamplingOptions, Usage
from serve_app.http.types import ApiAnswer, ApiRequest, VoiceName


class InputAudio(BaseModel):
    data: str  # base64 of a file
    format: str  # any that can be decoded; the file itself says which it is


class ContentPart(BaseModel):
    type: Literal["text", "input_audio", "refusal"]
    text: str | None = None
    refusal: str | None = None
    input_audio: InputAudio | None = None

    @model_validator(mode="after")
    def _holds_what_it_names(self) -> Self:
        if getattr(self, self.type) is None:
            raise ValueError(f"a part of type {self.type!r} needs the field {self.type!r}")
        return self


def _as_parts(content: Any) -> Any:
    if content is None:
        return []
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


class AudioId(BaseModel):
    id: str


class FunctionCall(BaseModel):
    name: str
    arguments: str


class ToolCallIn(BaseModel):
    id: str
    type: Literal["function"] = "function"
    function: FunctionCall


class ChatMessage(BaseModel):
    """A turn of the conversation; which fields count depends on its role."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Annotated[list[ContentPart], BeforeValidator(_as_parts)] = []
    audio: AudioId | None = None  # an assistant's: the spoken answer of that id
    tool_calls: list[ToolCallIn] | None = None
    tool_call_id: str | None = None


class Function(BaseModel):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(BaseModel):
    type: Literal["function"]
    function: Function


class AudioOutput(BaseModel):
    format: Literal["wav", "aac", "mp3", "flac", "opus", "pcm16"]
    voice: VoiceName | None = None


class StreamOptions(BaseModel):
    include_usage: bool = False


class ResponseFormat(BaseModel):
    type: str


class ChatBody(ApiRequest):
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
        "parallel_tool_calls": (True,),
        "store": (False,),
        "response_format": (ResponseFormat(type="text"),),
        "tool_choice": ("auto", "none"),
    }

    model: str
    messages: list[ChatMessage] = Field(min_length=1)
    modalities: list[Literal["text", "audio"]] | None = Field(default=None, min_length=1)
    audio: AudioOutput | None = None
    tools: list[Tool] | None = None
    tool_choice: Any = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    # Not OpenAI's, but what other servers call the model's own penalty.
    repetition_penalty: float | None = Field(default=None, gt=0)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    stop: str | list[str] | None = None

    n: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    logit_bias: dict[str, float] | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    functions: Any = None
    function_call: Any = None
    prediction: Any = None
    web_search_options: Any = None
    moderation: Any = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    parallel_tool_calls: bool | None = None
    store: bool | None = None
    response_format: ResponseFormat | None = None

    @property
    def spoken(self) -> bool:
        """Whether the answer is to be spoken."""
        return "audio" in (self.modalities or ())

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
    cached_tokens: int


class CompletionDetails(ApiAnswer):
    audio_tokens: int


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
            prompt_tokens_details=PromptDetails(cached_tokens=usage.cached_prompt_tokens),
            completion_tokens_details=CompletionDetails(audio_tokens=usage.audio_tokens),
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


class ChatChunk(ApiAnswer):
    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: CompletionUsage | None = None
