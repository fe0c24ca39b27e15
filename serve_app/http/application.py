"""The FastAPI application: one router a resource, over any Backend."""

import time
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.security import HTTPBearer

from deployments.metrics import UNRECORDED, Recorder
from deployments.voice_store import VoiceStore
from serve_app.graph.backend import Backend
from serve_app.graph.readiness import Readiness
from serve_app.http import health
from serve_app.http.access.gate import Access, KeyGate, access_of
from serve_app.http.api_reference.router import add_docs
from serve_app.http.browsers import PageHeaders, cross_origin
from serve_app.http.chat import router as chat
from serve_app.http.chat.spoken_turns import SpokenTurns, spoken_turns_of
from serve_app.http.dependencies import Server
from serve_app.http.documented import OF_ALL, error_answers, without_validation_errors
from serve_app.http.errors import Failures, install_error_handlers
from serve_app.http.middleware import BodyLimits, RequestId, RequestLog
from serve_app.http.models import router as models
from serve_app.http.realtime import client_secrets
from serve_app.http.realtime import router as realtime
from serve_app.http.realtime.open_sessions import Sessions
from serve_app.http.realtime.turn_models import TurnModels
from serve_app.http.realtime_translation import router as realtime_translation
from serve_app.http.request_trace import RequestTrace
from serve_app.http.settings import HttpSettings
from serve_app.http.speech import router as speech
from serve_app.http.talk_page.router import add_page
from serve_app.http.text_stream import router as text_stream
from serve_app.http.transcription import router as transcriptions
from serve_app.http.voices import router as voices

DESCRIPTION = "Speech to text, text to speech and speech to speech, under OpenAI's names."
KEY = Depends(HTTPBearer(auto_error=False, description="An API key, if the server has any."))


class Application(FastAPI):
    """FastAPI, but its document says what this server answers."""

    def openapi(self) -> dict[str, Any]:
        return without_validation_errors(super().openapi())


def create_http_app(
    backend: Backend,
    settings: HttpSettings,
    spoken_turns: SpokenTurns | None = None,
    voice_store: VoiceStore | None = None,
    access: Access | None = None,
    recorder: Recorder = UNRECORDED,
) -> FastAPI:
    """The HTTP surface of `backend`.

    By default spoken answers are kept as `settings` say and uploaded voices nowhere; keys and
    limits are those of `settings` for one replica. `recorder` gets the metrics of answers.
    """
    app = Application(title="Step-Audio 2", description=DESCRIPTION, docs_url=None, redoc_url=None)
    app.state.server = Server(
        backend=backend,
        settings=settings,
        readiness=Readiness(backend.ready),
        text_readiness=Readiness(backend.ready_for_text),
        started_at=int(time.time()),
        voice_store=voice_store,
        recorder=recorder,
    )
    app.state.spoken_turns = spoken_turns or spoken_turns_of(settings)
    access = access or access_of(settings)
    app.state.client_secrets = access.client_secrets
    app.state.turn_models = TurnModels()
    app.state.sessions = Sessions(settings.realtime.max_sessions)
    resources = (speech, transcriptions, chat, voices, models, client_secrets, realtime_translation)
    for module in resources:
        app.include_router(
            module.router, prefix="/v1", responses=error_answers(*OF_ALL), dependencies=[KEY]
        )
    app.include_router(realtime.socket, prefix="/v1")
    app.include_router(realtime_translation.socket, prefix="/v1")
    app.include_router(text_stream.router, prefix="/v1")
    app.include_router(health.router)
    add_docs(app)
    add_page(app)
    install_error_handlers(app, settings.retry_after_s)
    app.add_middleware(BodyLimits, settings=settings)  # the innermost
    app.add_middleware(KeyGate, access=access)
    app.add_middleware(RequestLog)
    app.add_middleware(RequestTrace)
    app.add_middleware(RequestId)
    app.add_middleware(Failures)
    app.add_middleware(PageHeaders)
    app.add_middleware(cross_origin, settings=settings)
    return app
