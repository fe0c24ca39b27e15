"""The settings of one session: how updates change them, and how the client sees them."""

import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ValidationError

from deployments.errors import UnknownVoice
from deployments.messages import Voice
from deployments.thinker import tasks
from serve_app.http.dependencies import Server
from serve_app.http.realtime.refusals import Refused, refused
from serve_app.http.realtime.session_types import (
    PCM_RATE_HZ,
    Detection,
    Modality,
    SessionFields,
    SoundFormat,
)
from serve_app.http.types import voice_name

Kind = Literal["realtime", "transcription"]
MERGED = {"audio", "input", "output", "noise_reduction"}  # objects of which parts can be given
MAX_SHOWN_BYTES = 200 << 10  # no event may have more than 256 KiB, and a session's shows all of it
Json = dict[str, Any]


class SessionSettings:
    """What the client has set so far, and what follows from it."""

    def __init__(self, server: Server, session_id: str, kind: Kind, model: str) -> None:
        self._server = server
        self._id = session_id
        self._model = model
        self._given: Json = {"type": kind}
        self.fields = SessionFields(type=kind)
        self.expires_at = 0  # Unix time
        self.voices: tuple[str, ...] = ()
        self.voice: Voice = None  # of the next answer
        self.has_spoken = False  # from then on the voice stays

    async def open(self) -> None:
        """Find out what the server can do. Who writes down needs no Token2Wav, and asks none."""
        if not self.is_transcription:
            self.voices = await self._server.backend.voices()

    @property
    def is_transcription(self) -> bool:
        return self.fields.type == "transcription"

    @property
    def model(self) -> str:
        return self._model

    @property
    def instructions(self) -> str:
        given = self.fields.instructions
        return tasks.CONVERSE if given is None else given

    @property
    def modality(self) -> Modality:
        return modality_of(self.fields.output_modalities, "audio" if self.voices else "text")

    @property
    def speed(self) -> float:
        speed = self.fields.output.speed
        return 1.0 if speed is None else speed

    @property
    def input_format(self) -> SoundFormat:
        return self.fields.input.format or SoundFormat(rate=PCM_RATE_HZ)

    @property
    def output_format(self) -> SoundFormat:
        return self.fields.output.format or SoundFormat(rate=PCM_RATE_HZ)

    @property
    def turns(self) -> Detection | None:
        """How turns are detected; None leaves it to the client."""
        return self.fields.input.turn_detection

    async def update(self, given: Mapping[str, Any]) -> None:
        """Change what is in `given`; null, "" and [] clear a field.

        Raises:
            Refused: a field is wrong, or cannot be changed now.
            HTTPException: there is no such model.
            UnknownVoice, VoiceStoreFailed: the voice.
        """
        changed = merged(self._given, given)
        try:
            fields = SessionFields.model_validate(changed)
        except ValidationError as error:
            raise refused(error, "session") from None
        self._require_same_kind(fields)
        self._require_models(fields)
        voice = await self._voice(fields)
        shown = len(json.dumps(changed, ensure_ascii=False).encode())
        if shown > MAX_SHOWN_BYTES:
            message = f"a session of {shown} bytes; the limit is {MAX_SHOWN_BYTES}"
            raise Refused("invalid_value", message, "session")
        self._given, self.fields, self.voice = changed, fields, voice

    async def find_voice(self, name: str | None, param: str) -> Voice:
        """The voice of that name; None is the default one.

        Raises:
            UnknownVoice: there is none.
        """
        voice = await self._server.voice(name, param)
        if isinstance(voice, str) and voice not in self.voices and self.voices:
            error = UnknownVoice(voice, self.voices)
            error.param = param
            raise error
        return voice

    def told(self) -> Json:
        """The session as events show it."""
        told: Json = {
            "type": self.fields.type,
            "object": f"realtime.{'transcription_' if self.is_transcription else ''}session",
            "id": self._id,
            "expires_at": self.expires_at,
            "audio": {"input": self._input()},
            "include": self.fields.include,
        }
        return told if self.is_transcription else told | self._output()

    def _input(self) -> Json:
        given = self.fields.input
        noise, writing = given.noise_reduction, given.transcription
        return {
            "format": self.input_format.told,
            "noise_reduction": noise and noise.model_dump(exclude_none=True),
            "transcription": writing and writing.model_dump(exclude_none=True),
            "turn_detection": self.turns and self.turns.model_dump(),
        }

    def _output(self) -> Json:
        fields = self.fields
        told: Json = {
            "model": self._model,
            "output_modalities": [self.modality],
            "instructions": self.instructions,
            "tools": [tool.model_dump(exclude_none=True) for tool in fields.tools or ()],
            "tool_choice": shown_choice(fields.tool_choice),
            "max_output_tokens": fields.max_output_tokens or "inf",
            "truncation": self._given.get("truncation") or "auto",
            "tracing": fields.tracing,
            "prompt": None,
        }
        told["audio"] = {"input": self._input(), "output": self.told_output()}
        return told

    def told_output(self) -> Json:
        return {
            "format": self.output_format.told,
            "voice": self.voice_name,
            "speed": self.speed,
        }

    @property
    def voice_name(self) -> str:
        """By which the client knows the voice."""
        return voice_name(self.fields.output.voice) or (
            self.voices[0] if self.voices else "default"
        )

    def _require_same_kind(self, fields: SessionFields) -> None:
        if fields.type != self.fields.type:
            message = f"this is a {self.fields.type} session; open another one"
            raise Refused("invalid_value", message, "session.type")

    def _require_models(self, fields: SessionFields) -> None:
        """Every name of the model means the same one, so a session keeps the name it began with."""
        writing = fields.input.transcription
        for name in (fields.model, writing and writing.model):
            if name:
                self._server.require_model(name)

    async def _voice(self, fields: SessionFields) -> Voice:
        name, before = voice_name(fields.output.voice), voice_name(self.fields.output.voice)
        if name == before:
            return self.voice
        if self.has_spoken:
            message = "the voice cannot be changed once the assistant has spoken"
            raise Refused("cannot_update_voice", message, "session.audio.output.voice")
        return await self.find_voice(name or None, "session.audio.output.voice")


def modality_of(given: list[Modality] | None, default: Modality) -> Modality:
    """What an answer is made of. Sound always has its transcript, so both mean sound."""
    if not given:
        return default
    return "audio" if "audio" in given else "text"


def shown_choice(choice: Any) -> Any:
    """A `tool_choice` as events show it."""
    return choice.model_dump() if hasattr(choice, "model_dump") else choice or "auto"


def merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> Json:
    """What a client has set, after an update that may give parts of the objects in `MERGED`."""
    changed = dict(old)
    for key, value in new.items():
        before = changed.get(key)
        if key in MERGED and isinstance(value, Mapping) and isinstance(before, Mapping):
            value = merged(before, value)
        changed[key] = value
    return changed
