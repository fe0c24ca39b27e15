"""`POST /v1/audio/transcriptions` and `/translations`: a recording, written down."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from starlette.responses import PlainTextResponse, Response

from deployments.messages import (
    INPUT_SAMPLE_RATE_HZ,
    Message,
    SamplingOptions,
    ThinkerDelta,
    ThinkerRequest,
    Usage,
)
from deployments.thinker import tasks
from serve_app.graph.answers import uncut
from serve_app.http.body_checks import CheckedRoute
from serve_app.http.dependencies import Server, ServerDep, require_multipart, require_ready_for_text
from serve_app.http.streaming import collect, events, first_then_rest
from serve_app.http.transcription.length import most_tokens
from serve_app.http.transcription.types import (
    TranscriptDelta,
    TranscriptDone,
    Transcription,
    TranscriptionForm,
    TranscriptUsage,
    TranslationForm,
)

router = APIRouter(
    tags=["audio"],
    dependencies=[Depends(require_multipart), Depends(require_ready_for_text)],
    route_class=CheckedRoute,
)


@router.post("/audio/transcriptions", summary="Transcribe speech", response_model=Transcription)
async def create_transcription(
    form: Annotated[TranscriptionForm, Form()], request: Request, server: ServerDep
) -> Response | Transcription:
    server.require_model(form.model)
    form.refuse_unsupported()
    samples = await server.decode(await form.file.read(), param="file")
    messages = tasks.transcribe(samples, form.language, form.prompt)
    return await _answer(messages, len(samples), form, request, server)


@router.post("/audio/translations", summary="Translate speech", response_model=Transcription)
async def create_translation(
    form: Annotated[TranslationForm, Form()], request: Request, server: ServerDep
) -> Response | Transcription:
    server.require_model(form.model)
    form.refuse_unsupported()
    samples = await server.decode(await form.file.read(), param="file")
    messages = tasks.translate(samples, prompt=form.prompt)
    return await _answer(messages, len(samples), form, request, server)


async def _answer(
    messages: tuple[Message, ...],
    sample_count: int,
    form: TranslationForm,
    request: Request,
    server: Server,
) -> Response | Transcription:
    limit = most_tokens(sample_count / INPUT_SAMPLE_RATE_HZ)
    # Greedy unless asked otherwise: a recording has one transcript.
    sampling = SamplingOptions(temperature=form.temperature or 0.0, max_tokens=limit)
    thinker = ThinkerRequest(request.state.request_id, messages, sampling=sampling)
    deltas = uncut(server.backend.text(thinker))
    if form.stream:
        return events(await first_then_rest(request, _transcript_events(deltas)))
    whole = await collect(request, deltas)
    text = "".join(delta.text for delta in whole)
    if form.response_format == "text":
        return PlainTextResponse(text)
    usage = next((delta.usage for delta in reversed(whole) if delta.usage), Usage(0, 0))
    return Transcription(text=text, usage=TranscriptUsage.of(usage))


async def _transcript_events(
    deltas: AsyncGenerator[ThinkerDelta],
) -> AsyncGenerator[TranscriptDelta | TranscriptDone]:
    text, usage = "", Usage(0, 0)
    async with aclosing(deltas):
        async for delta in deltas:
            text += delta.text
            usage = delta.usage or usage
            if delta.text:
                yield TranscriptDelta(delta=delta.text)
    yield TranscriptDone(text=text, usage=TranscriptUsage.of(usage))
