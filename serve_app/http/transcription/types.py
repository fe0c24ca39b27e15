"""The types of `/v1/audio/transcriptions` and `/translations`, under OpenAI's names."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from fastapi import UploadFile
from pydantic import Field

from serve_app.http.types import ApiAnswer, ApiRequest, TokenUsage

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
