"""The FastAPI application: one router a resource, over any Backend."""

import time

from fastapi import FastAPI

from serve_app.api_types import ErrorBody
from serve_app.backend import Backend, Readiness
from serve_app.history import MemorySpokenTurns, SpokenTurnStore
from serve_app.http_errors import install_error_handlers
from serve_app.http_settings import HttpSettings
from serve_app.middleware import Gate, RequestId
from serve_app.routers import chat, health, models, speech, transcriptions
from serve_app.server import Server

DESCRIPTION = "Speech to text, text to speech and speech to speech, under OpenAI's names."
ERRORS: dict[int | str, dict[str, object]] = {
    status: {"model": ErrorBody} for status in (400, 401, 404, 413, 415, 429, 500, 503)
}


def create_http_app(
    backend: Backend, settings: HttpSettings, spoken_turns: SpokenTurnStore | None = None
) -> FastAPI:
    """The HTTP surface of `backend`; spoken answers are kept in this process by default."""
    app = FastAPI(title="Step-Audio 2", description=DESCRIPTION, docs_url="/docs", redoc_url=None)
    app.state.server = Server(
        backend=backend,
        settings=settings,
        readiness=Readiness(backend.ready),
        text_readiness=Readiness(backend.ready_for_text),
        spoken_turns=spoken_turns
        or MemorySpokenTurns(settings.spoken_turns_kept, settings.spoken_turn_ttl_s),
        started_at=int(time.time()),
    )
    for module in (speech, transcriptions, chat, models):
        app.include_router(module.router, prefix="/v1", responses=ERRORS)
    app.include_router(health.router)
    install_error_handlers(app, settings.retry_after_s)
    app.add_middleware(Gate, settings=settings)
    app.add_middleware(RequestId)
    return app
