"""The types of `/v1/audio/transcriptions` and `/translations`, under OpenAI's names."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from fastapi import UploadFile
from pydantic import Field

from deployments.errors import UnsupportedRequest
from deployments.messages import Message
from deployments.thinker import tasks
from serve_app.http.body_checks import CheckedRoute
from serve_app.http.transcription.chunking import cutting_of
from serve_app.http.types import ApiAnswer, TieredRequest, TokenUsage
from serve_app.sound.recording_pieces import Cutting

TranscriptFormat = Literal["json", "text", "srt", "vtt", "verbose_json", "diarized_json"]
TIMED = ("srt", "vtt", "verbose_json")  # formats that say when something is said


class TranscriptionRoute(CheckedRoute):
    """A route that takes each list by both of the names that clients give it."""

    list_fields = frozenset(
        (
            "include",
            "timestamp_granularities",
            "keywords",
            "languages",
            "known_speaker_names",
            "known_speaker_references",
        )
    )


class TranslationForm(TieredRequest):
    """`POST /v1/audio/translations`, as a multipart form."""

    honoured: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "response_format": ("json", "text", *TIMED),
    }
    task: ClassVar[str] = "translate"

    file: UploadFile
    model: str
    prompt: str | None = None
    response_format: TranscriptFormat = "json"
    temperature: float | None = Field(default=None, ge=0, le=2)
    stream: bool = False

    def refuse_unsupported(self) -> None:
        """Raise UnsupportedRequest that names the first field which asks for too much."""
        super().refuse_unsupported()
        if self.stream and self.is_timed:
            raise UnsupportedRequest(
                f"stream=true is not supported with response_format={self.response_format!r}; "
                "json and text are streamed",
                param="stream",
            )

    @property
    def is_timed(self) -> bool:
        """Whether the answer says when something is said."""
        return self.response_format in TIMED

    @property
    def needs_pieces(self) -> bool:
        """Whether even a short recording is cut."""
        return self.is_timed or self.cutting() is not None

    @property
    def language_written(self) -> str:
        """Of the answer, as whisper names it."""
        return "english"

    def messages(self, samples: np.ndarray) -> tuple[Message, ...]:
        """The prompt about `samples` ([N] float32, 16 kHz)."""
        return tasks.translate(samples, prompt=self.prompt)

    def cutting(self) -> Cutting | None:
        """How the client wants its recording cut; None leaves that to the server."""
        return None


class TranscriptionForm(TranslationForm):
    """`POST /v1/audio/transcriptions`, as a multipart form."""

    honoured: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        **TranslationForm.honoured,
        "include": ([],),
        "timestamp_granularities": ([], ["segment"]),
        "known_speaker_names": ([],),
        "known_speaker_references": ([],),
    }
    task: ClassVar[str] = "transcribe"

    language: str | None = None
    chunking_strategy: str | None = None
    chunking_type: str | None = Field(default=None, alias="chunking_strategy[type]")
    chunking_threshold: str | None = Field(default=None, alias="chunking_strategy[threshold]")
    chunking_padding: str | None = Field(default=None, alias="chunking_strategy[prefix_padding_ms]")
    chunking_silence: str | None = Field(
        default=None, alias="chunking_strategy[silence_duration_ms]"
    )
    include: list[str] = Field(default=[], alias="include[]")
    timestamp_granularities: list[str] = Field(default=[], alias="timestamp_granularities[]")
    keywords: list[str] = Field(default=[], alias="keywords[]")
    languages: list[str] = Field(default=[], alias="languages[]")
    known_speaker_names: list[str] = Field(default=[], alias="known_speaker_names[]")
    known_speaker_references: list[str] = Field(default=[], alias="known_speaker_references[]")

    def refuse_unsupported(self) -> None:
        super().refuse_unsupported()
        if self.timestamp_granularities and self.response_format != "verbose_json":
            raise UnsupportedRequest(
                "timestamp_granularities needs response_format='verbose_json', not "
                f"{self.response_format!r}",
                param="timestamp_granularities[]",
            )
        self.cutting()

    @property
    def language_written(self) -> str:
        return self.language or (self.languages[0] if len(self.languages) == 1 else "unknown")

    def messages(self, samples: np.ndarray) -> tuple[Message, ...]:
        hints = (self.prompt or "", ", ".join(self.keywords))
        return tasks.transcribe(samples, self.language, " ".join(filter(None, hints)))

    def cutting(self) -> Cutting | None:
        fields = {
            "type": self.chunking_type,
            "threshold": self.chunking_threshold,
            "prefix_padding_ms": self.chunking_padding,
            "silence_duration_ms": self.chunking_silence,
        }
        given = {name: value for name, value in fields.items() if value is not None}
        return cutting_of(self.chunking_strategy, given)


class TranscriptUsage(TokenUsage):
    type: Literal["tokens"] = "tokens"


class DurationUsage(ApiAnswer):
    type: Literal["duration"] = "duration"
    seconds: float


class Transcription(ApiAnswer):
    text: str
    usage: TranscriptUsage


class TranscriptSegment(ApiAnswer):
    """A stretch of speech between two pauses, and what is said in it."""

    id: int
    seek: int  # its start in units of 10 ms
    start: float  # seconds
    end: float
    text: str  # with the space before it: all texts joined are the transcript
    tokens: list[int]  # the model's ids
    temperature: float
    avg_logprob: float = 0.0  # the model's are not reported
    compression_ratio: float  # of the text, as whisper computes it
    no_speech_prob: float  # of the voice activity model: its mean over the segment


class VerboseTranscription(ApiAnswer):
    task: str
    language: str
    duration: float  # of the recording, in seconds
    text: str
    segments: list[TranscriptSegment]
    usage: DurationUsage


class TranscriptDelta(ApiAnswer):
    type: Literal["transcript.text.delta"] = "transcript.text.delta"
    delta: str


class TranscriptDone(ApiAnswer):
    type: Literal["transcript.text.done"] = "transcript.text.done"
    text: str
    usage: TranscriptUsage
