"""What crosses a process: frozen dataclasses of plain values, and nothing else.

Ingress ──SpeechRequest──► Token2Wav ──ThinkerRequest──► Thinker
        ◄──SpeechDelta───           ◄──ThinkerDelta────

Every class is a `Wire`: the versions of a rolling update read each other's messages.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

import numpy as np

from deployments.chunker import ChunkSchedule
from deployments.priority import Priority
from deployments.wire import Wire, read

AUDIO_TOKENS_PER_SECOND = 25
OUTPUT_SAMPLE_RATE_HZ = 24_000
SAMPLES_PER_AUDIO_TOKEN = OUTPUT_SAMPLE_RATE_HZ // AUDIO_TOKENS_PER_SECOND  # 960
INPUT_SAMPLE_RATE_HZ = 16_000


class Role(StrEnum):
    """The roles of the model's chat template (`user` of OpenAI is `human` here)."""

    SYSTEM = "system"
    HUMAN = "human"
    ASSISTANT = "assistant"
    TOOL_SCHEMAS = "tool_json_schemas"
    TOOL_RESULT = "input"


@dataclass(frozen=True, slots=True)
class TextPart(Wire):
    text: str


@dataclass(frozen=True, slots=True, eq=False)
class AudioPart(Wire):
    """Speech that the model listens to."""

    samples: np.ndarray  # [N] float32, mono, 16 kHz, any length up to the configured limit


@dataclass(frozen=True, slots=True)
class Heard(Wire):
    """How far a spoken answer was heard before it was interrupted."""

    audio_tokens: int  # that were played, 25 a second, without padding
    text: str  # that was heard by then, from the answer's beginning


@dataclass(frozen=True, slots=True)
class SpokenPart(Wire):
    """An earlier spoken answer: the very token ids that were produced after `<tts_start>`.

    `heard` crosses as a plain tuple: the version before has no class for it, and reads all the
    rest. There the model remembers the whole answer.
    """

    token_ids: tuple[int, ...]
    heard: Heard | None = None  # None: all of it

    def __post_init__(self) -> None:
        if isinstance(self.heard, tuple):
            object.__setattr__(self, "heard", Heard(*self.heard))

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        sent: dict[str, Any] = {"token_ids": self.token_ids}
        if self.heard is not None:
            sent["heard"] = (self.heard.audio_tokens, self.heard.text)
        return read, (SpokenPart, sent)


@dataclass(frozen=True, slots=True)
class ToolCall(Wire):
    """A function the model asks the caller to run; `arguments` is JSON as the model wrote it."""

    name: str
    arguments: str


Part = TextPart | AudioPart | SpokenPart | ToolCall


@dataclass(frozen=True, slots=True)
class Message(Wire):
    role: Role
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class SamplingOptions(Wire):
    """How the next token is drawn; `None` leaves the stage's configured default."""

    temperature: float | None = None
    top_p: float | None = None
    repetition_penalty: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Function(Wire):
    """A function that an answer can be made to call."""

    name: str
    parameters: str  # the JSON Schema of its arguments, as JSON


@dataclass(frozen=True, slots=True)
class ThinkerRequest(Wire):
    """One turn for the Thinker to answer."""

    request_id: str
    messages: tuple[Message, ...]
    reply: Literal["text", "speech"] = "text"
    sampling: SamplingOptions = field(default_factory=SamplingOptions)
    chunks: ChunkSchedule | None = None  # audio tokens are sent as the next chunk needs them
    needed_tokens: int = 1  # where the context leaves fewer, the request is refused
    json_schema: str | None = None  # JSON Schema, as JSON, that a text answer follows
    must_call: tuple[Function, ...] = ()  # the answer is a call of one of these and nothing else
    at_most_one_call: bool = False  # the answer ends behind its first call
    priority: Priority = "live"  # in both stages; of a spoken answer, that of its first part
    made: tuple[int, ...] = ()  # all ids of this answer that another replica made; it goes on there
    beats: bool = False  # whether the caller understands heartbeats
    conversation: str = ""  # the same in all of its turns, whose prompts begin alike; "": none
    avoid: tuple[str, ...] = ()  # replicas that were lost; taken only where there is no other
    refused_by: tuple[str, ...] = ()  # replicas that had no room; they are not asked again
    trace: str = ""  # W3C's `traceparent` of what asks, of a spoken answer too; "": not traced
    chance: int = 0  # a seed for want of one, where seeds cost nothing; 0: none


@dataclass(frozen=True, slots=True)
class Usage(Wire):
    """Token counts of one turn, complete only with the last delta."""

    prompt_tokens: int
    completion_tokens: int
    audio_tokens: int = 0
    cached_prompt_tokens: int = 0
    prompt_audio_tokens: int = 0  # placeholders of recordings, and audio tokens of spoken turns
    reasoning_tokens: int = 0  # of the thought before the answer; in `completion_tokens` too
    answers: int = 1  # of the Thinker that are counted here

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.audio_tokens + other.audio_tokens,
            self.cached_prompt_tokens + other.cached_prompt_tokens,
            self.prompt_audio_tokens + other.prompt_audio_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.answers + other.answers,
        )


FinishReason = Literal["stop", "length", "tool_calls", "abort"]


@dataclass(frozen=True, slots=True)
class Heartbeat(Wire):
    """That a replica is alive, and whether its engine makes steps.

    It comes with the first delta of an answer whose request has `beats`, and in a delta of its own
    while the replica has nothing else to send.
    """

    steps: int  # that the engine has made
    step_s: float  # how long the step under way has taken; 0 where the engine has nothing to do
    stuck: bool  # whether that is more than a step of this engine can take
    alone: bool  # whether its delta says nothing else


@dataclass(frozen=True, slots=True)
class ThinkerDelta(Wire):
    """What was produced since the delta before; only the last one has a `finish_reason`."""

    text: str = ""
    reasoning: str = ""  # thoughts of a Think checkpoint; they never enter the history
    audio_tokens: tuple[int, ...] = ()  # codes from 0, 25 a second, padding already dropped
    token_ids: tuple[int, ...] = ()  # every id, for the history of the next turn
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    made: tuple[
        int, ...
    ] = ()  # every id, also those that show nothing; none: cannot go on elsewhere
    offset: int | None = None  # of the answer's ids in `made`, how many came before
    part: int = 0  # of a text in parts
    replica: str = ""  # that answers; the first delta says it
    heartbeat: Heartbeat | None = None


@dataclass(frozen=True, slots=True)
class ReferenceAudio(Wire):
    """A voice to imitate, as its file came: 3 to 10 seconds of clean speech."""

    data: bytes


@dataclass(frozen=True, slots=True)
class StoredVoice(Wire):
    """A voice that was uploaded; its recording lies in the voice store, which all replicas read."""

    id: str
    name: str
    owner: str  # who alone may use it; nobody in particular is ""
    created_at: int  # Unix time
    sha256: str  # of its recording, in hexadecimal


Voice = str | ReferenceAudio | StoredVoice | None  # None is the default one, a string configured


@dataclass(frozen=True, slots=True)
class NextPart(Wire):
    """What is spoken after something else, in the same stream: the next part of a long text."""

    thinker: ThinkerRequest
    pause_s: float = 0.0  # the quiet between the two, at least


@dataclass(frozen=True, slots=True)
class PartSoFar(Wire):
    """What the Thinker had made of one part when the replica that spoke it was lost."""

    made: tuple[int, ...]
    audio_tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SpokenSoFar(Wire):
    """A spoken answer whose replica was lost: all that the next one needs to go on exactly.

    What Token2Wav holds of a stream follows from its voice, its schedule and its audio tokens.
    """

    schedule: ChunkSchedule
    parts: tuple[PartSoFar, ...]  # those that were begun
    samples: int  # that were received
    usage: Usage | None = None  # of all parts before the last


@dataclass(frozen=True, slots=True)
class SpeechRequest(Wire):
    """One turn to answer aloud, in a voice."""

    thinker: ThinkerRequest
    voice: Voice = None
    streamed: bool = True  # False: the client gets the answer whole, so no playback waits
    then: tuple[NextPart, ...] = ()  # in this order; the usage says how many were answered
    speed: float = 1.0  # that it is played at; it is made at its own pace all the same
    so_far: SpokenSoFar | None = None  # of an answer that another replica began
    tries: int = 3  # how often a lost Thinker may be replaced, before the answer fails
    beats: bool = False  # whether the caller understands heartbeats
    avoid: tuple[str, ...] = ()  # as in `ThinkerRequest`, replicas of Token2Wav
    refused_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SpeechDelta(Wire):
    """A piece of a spoken answer; `pcm` and the rest advance independently."""

    pcm: bytes = b""  # s16le, mono, 24 kHz
    text: str = ""
    reasoning: str = ""
    token_ids: tuple[int, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    made: tuple[int, ...] = ()  # as in `ThinkerDelta`; it goes with the first sound that it adds to
    made_offset: int | None = None  # of the part's ids in `made`, how many came before
    audio_tokens: tuple[int, ...] = ()  # that came from the Thinker with it
    part: int = 0  # of a text in parts, that these belong to
    offset: int | None = None  # samples of the answer that came before
    schedule: ChunkSchedule | None = None  # that the answer is cut by; the first delta says it
    tries: int | None = None  # that are left to it
    replica: str = ""  # of Token2Wav, that answers; the first delta says it
    heartbeat: Heartbeat | None = None
