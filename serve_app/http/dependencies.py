"""What every router works with, handed to it by FastAPI's dependencies."""

import asyncio
from dataclasses import dataclass, field, replace
from typing import Annotated, Self

import numpy as np
from fastapi import Depends, HTTPException, Request
from fastapi.requests import HTTPConnection

from deployments.audio_decoding import decode_audio
from deployments.errors import AudioTooLong, StepAudioError
from deployments.messages import INPUT_SAMPLE_RATE_HZ, ReferenceAudio, Voice
from deployments.metrics import UNRECORDED, Recorder
from deployments.voice_store import EVERYBODY, VoiceStore
from serve_app.graph.activity import Activity, CountedBackend, NotingRecorder
from serve_app.graph.answer_metrics import MeasuredBackend
from serve_app.graph.backend import Backend
from serve_app.graph.readiness import Readiness
from serve_app.graph.traced_answers import TracedBackend
from serve_app.http.access.gate import is_from_inside
from serve_app.http.access.key_limits import Allowance
from serve_app.http.access.metering import MeteredBackend
from serve_app.http.body_checks import media_type
from serve_app.http.openai_names import voice_behind
from serve_app.http.recordings import file_of, require_voice
from serve_app.http.settings import HttpSettings
from serve_app.http.types import AskedVoice, VoiceAudio, voice_name


@dataclass(frozen=True, slots=True)
class Server:
    """One HTTP application's parts."""

    backend: Backend
    settings: HttpSettings
    readiness: Readiness  # of all stages
    text_readiness: Readiness  # of those that a text answer needs
    started_at: int  # Unix time
    voice_store: VoiceStore | None = None  # None keeps no uploaded voices
    owner: str = EVERYBODY  # the name of the API key that the request came by
    recorder: Recorder = UNRECORDED  # of the metrics of clients' answers
    activity: Activity = field(default_factory=Activity)

    def for_caller(self, owner: str, allowance: Allowance | None, trace: str = "") -> Self:
        """The parts as one client uses them; `trace` is the request's, "" where there is none."""
        recorder = NotingRecorder(self.recorder, self.activity)
        backend = TracedBackend(self.backend, trace) if trace else self.backend
        backend = CountedBackend(backend, self.activity)
        backend = MeasuredBackend(backend, recorder)
        if allowance is not None and allowance.counts_audio:
            backend = MeteredBackend(backend, allowance)
        return replace(self, owner=owner, backend=backend)

    def require_model(self, name: str) -> None:
        """Answer 404 unless the model goes by `name` here."""
        if name not in self.settings.models and name not in self.settings.model_aliases:
            served = ", ".join(self.settings.models)
            message = f"there is no model {name!r}; served here: {served}"
            raise HTTPException(
                404, {"message": message, "param": "model", "code": "model_not_found"}
            )

    async def voice(self, asked: AskedVoice | None, param: str) -> Voice:
        """The voice that a request means by its field `param`; None asks for the default one.

        A configured voice comes before an alias, and both before an uploaded one. A recording is
        checked as an upload is, and kept nowhere but among the voices that stay prepared.

        Raises:
            VoiceStoreFailed: the name is not configured, and the store does not answer.
            AudioUnreadable, VoiceSampleUnfit: the recording is not fit to be a voice.
        """
        if isinstance(asked, VoiceAudio):
            recording = await file_of(asked.audio, f"{param}.audio")
            await require_voice(recording, f"{param}.audio")
            return ReferenceAudio(recording)
        name, aliases = voice_name(asked), self.settings.voice_aliases
        if name is None:
            return None
        if name in aliases:
            return voice_behind(name, await self.backend.voices(), aliases)
        if self.voice_store is None or name in await self.backend.voices():
            return name
        return await self.voice_store.find(name, self.owner) or name  # which Token2Wav refuses

    async def decode(self, data: bytes, param: str, spent_s: float = 0.0) -> np.ndarray:
        """A request's recording as [N] float32 at 16 kHz, decoded beside the event loop.

        All recordings of a request share one limit; `spent_s` is what those before it took.

        Raises:
            AudioUnreadable, AudioTooLong: both name `param`.
        """
        limit_s = self.settings.max_audio_s
        try:
            samples, _ = await asyncio.to_thread(
                decode_audio, data, INPUT_SAMPLE_RATE_HZ, limit_s - spent_s
            )
        except AudioTooLong as error:
            raise AudioTooLong(spent_s + error.seconds, limit_s, param, error.is_all) from None
        except StepAudioError as error:
            error.param = param
            raise
        return samples


# Dependencies are coroutines even where they wait for nothing: FastAPI runs a plain function in a
# thread, and a burst of requests would spend its time on handing threads work.


async def get_server(connection: HTTPConnection) -> Server:
    server: Server = connection.app.state.server
    if is_from_inside(connection.scope):
        return server
    state = connection.state
    return server.for_caller(state.owner, state.allowance, state.trace)


ServerDep = Annotated[Server, Depends(get_server)]


async def require_ready(server: ServerDep) -> None:
    """Answer 503 until the graph can serve."""
    await server.readiness.require()


async def require_ready_for_text(server: ServerDep) -> None:
    """Answer 503 until the graph can answer in text."""
    await server.text_readiness.require()


async def require_json(request: Request) -> None:
    """Answer 415 to a body that is not JSON."""
    _require_content(request, "application/json")


async def require_multipart(request: Request) -> None:
    """Answer 415 to a body that is not a multipart form."""
    _require_content(request, "multipart/form-data")


def _require_content(request: Request, wanted: str) -> None:
    kind = media_type(request.headers.get("content-type", ""))
    if kind != wanted:
        raise HTTPException(415, f"the body must be {wanted}, not {kind or 'untyped'}")
