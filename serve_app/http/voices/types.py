"""The types of `/v1/audio/voices`, under OpenAI's names."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from fastapi import UploadFile
from pydantic import AfterValidator, Field

from deployments.voice_store import MAX_NAME_CHARS, is_id, tidy_name
from serve_app.http.types import ApiAnswer, ApiRequest


def _checked_name(name: str) -> str:
    name = tidy_name(name)
    if not 0 < len(name) <= MAX_NAME_CHARS:
        raise ValueError(f"a voice's name has 1 to {MAX_NAME_CHARS} characters")
    if not name.isprintable():
        raise ValueError("a voice's name has no control characters")
    if is_id(name):
        raise ValueError("a voice's name is not the id of a voice")
    return name


class VoiceForm(ApiRequest):
    """`POST /v1/audio/voices`, a multipart form."""

    honoured: ClassVar[Mapping[str, tuple[Any, ...]]] = {"type": ("audio_sample",), "prompt": ()}

    name: Annotated[str, AfterValidator(_checked_name)]
    audio_sample: UploadFile | None = None  # needed, but a form of another type comes without
    type: str | None = None
    prompt: str | None = None
    consent: str | None = Field(default=None, description="Accepted; nothing is checked by it.")


class Voice(ApiAnswer):
    id: str
    object: Literal["audio.voice"] = "audio.voice"
    name: str
    created_at: int  # Unix time
    type: Literal["audio_sample"] = "audio_sample"


class ListedVoice(ApiAnswer):
    id: str
    name: str


class VoiceList(ApiAnswer):
    object: Literal["list"] = "list"
    data: list[Voice]
    voices: list[ListedVoice]  # not OpenAI's: what Open WebUI reads


class VoiceDeleted(ApiAnswer):
    id: str
    deleted: Literal[True] = True
    object: Literal["audio.voice.deleted"] = "audio.voice.deleted"
