"""The settings of one interpreter: how updates change them, and how the client sees them."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ValidationError

from deployments.errors import UnknownVoice
from deployments.messages import Voice
from deployments.thinker import tasks
from serve_app.graph.answers import text_only
from serve_app.http.dependencies import Server
from serve_app.http.realtime.refusals import INVALID_VALUE, Refused, refused
from serve_app.http.realtime.session_settings import merged
from serve_app.http.realtime.session_types import NoiseReduction
from serve_app.http.types import JsonObject, VoiceId, voice_name

LANGUAGES = tuple(tasks.TRANSLATE_ALOUD)  # that the model was trained to interpret into
DEFAULT_LANGUAGE = "en"
Json = dict[str, Any]


class SourceTranscription(JsonObject):
    """Asks for what the speaker says in writing, too."""

    model: str


class TranslationInput(JsonObject):
    noise_reduction: NoiseReduction | None = None
    transcription: SourceTranscription | None = None


class TranslationOutput(JsonObject):
    """`voice` is this server's own field; without it the interpreter speaks in the speaker's."""

    language: str | None = None
    voice: str | VoiceId | None = None


class TranslationAudio(JsonObject):
    input: TranslationInput | None = None
    output: TranslationOutput | None = None


class TranslationFields(JsonObject):
    """A session; every field that is None has the server's default."""

    type: Literal["translation"] = "translation"
    model: str | None = None
    audio: TranslationAudio | None = None

    @property
    def input(self) -> TranslationInput:
        return (self.audio and self.audio.input) or TranslationInput()

    @property
    def output(self) -> TranslationOutput:
        return (self.audio and self.audio.output) or TranslationOutput()


class TranslationSettings:
    """What the client has set so far."""

    def __init__(self, server: Server, session_id: str, model: str) -> None:
        self._server = server
        self._id = session_id
        self._model = model
        self._given: Json = {}
        self._fields = TranslationFields()
        self._voices: tuple[str, ...] = ()
        self.expires_at = 0  # Unix time
        self.voice: Voice = None  # that the client has chosen

    async def open(self) -> None:
        """Find out what the server can do.

        Raises:
            UnsupportedRequest: it runs no Token2Wav.
        """
        self._voices = await self._server.backend.voices()
        if not self._voices:
            raise text_only()

    @property
    def language(self) -> str:
        """Into which the interpreter translates, one of `LANGUAGES`."""
        return self._fields.output.language or DEFAULT_LANGUAGE

    @property
    def writes_source(self) -> bool:
        """Whether the client wants to read what the speaker says."""
        return self._fields.input.transcription is not None

    async def update(self, given: Mapping[str, Any]) -> None:
        """Change what is in `given`; null clears a field.

        Raises:
            Refused: a field is wrong.
            HTTPException: there is no such model.
            UnknownVoice, VoiceStoreFailed: the voice.
        """
        changed = merged(self._given, given)
        try:
            fields = TranslationFields.model_validate(changed)
        except ValidationError as error:
            raise refused(error, "session") from None
        writing = fields.input.transcription
        for name in (fields.model, writing and writing.model):
            if name:
                self._server.require_model(name)
        _require_language(fields.output.language)
        voice = await self._voice(voice_name(fields.output.voice))
        self._given, self._fields, self.voice = changed, fields, voice

    def told(self) -> Json:
        """The session as events show it."""
        given = self._fields.input
        noise, writing = given.noise_reduction, given.transcription
        shown = noise.model_dump(exclude_none=True) if noise is not None and noise.type else None
        voice = voice_name(self._fields.output.voice)
        return {
            "id": self._id,
            "type": "translation",
            "model": self._model,
            "expires_at": self.expires_at,
            "audio": {
                "input": {
                    "noise_reduction": shown,
                    "transcription": writing and writing.model_dump(),
                },
                "output": {"language": self.language} | ({"voice": voice} if voice else {}),
            },
        }

    async def _voice(self, name: str | None) -> Voice:
        param = "session.audio.output.voice"
        voice = await self._server.voice(name or None, param)
        if isinstance(voice, str) and voice not in self._voices:
            error = UnknownVoice(voice, self._voices)
            error.param = param
            raise error
        return voice


def _require_language(language: str | None) -> None:
    if language is not None and language not in LANGUAGES:
        known = " or ".join(LANGUAGES)
        message = f"the model interprets into {known}, not into {language[:64]!r}"
        raise Refused(INVALID_VALUE, message, "session.audio.output.language")
