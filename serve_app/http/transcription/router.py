"""`POST /v1/audio/transcriptions` and `/translations`: a recording, written down."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from starlette.responses import Response

from deployments.messages import ThinkerDelta
from serve_app.http.dependencies import Server, ServerDep, require_multipart, require_ready_for_text
from serve_app.http.documented import OF_BODIES, as_events, as_text, error_answers
from serve_app.http.streaming import collect, events, first_then_rest
from serve_app.http.transcription.answers import timed_answer, transcript_events, untimed_answer
from serve_app.http.transcription.question import Question
from serve_app.http.transcription.recording import RecordingReader
from serve_app.http.transcription.segments import Segment, segments
from serve_app.http.transcription.types import (
    TranscriptDelta,
    TranscriptDone,
    Transcription,
    TranscriptionForm,
    TranscriptionRoute,
    TranslationForm,
    VerboseTranscription,
)
from serve_app.sound.recording_pieces import Cutting

router = APIRouter(
    tags=["audio"],
    dependencies=[Depends(require_multipart), Depends(require_ready_for_text)],
    route_class=TranscriptionRoute,
)
Written = Response | Transcription | VerboseTranscription
SENT = {
    "text/plain": as_text("The transcript, or subtitles."),
    "text/event-stream": as_events(TranscriptDelta | TranscriptDone),
}
ANSWERS = {200: {"content": SENT}, **error_answers(*OF_BODIES, 404, 422)}
Multipart = Form(media_type="multipart/form-data")


@router.post(
    "/audio/transcriptions",
    summary="Transcribe speech",
    response_model=Transcription | VerboseTranscription,
    responses=ANSWERS,
)
async def create_transcription(
    form: Annotated[TranscriptionForm, Multipart], request: Request, server: ServerDep
) -> Written:
    return await _write_down(form, request, server)


@router.post(
    "/audio/translations",
    summary="Translate speech",
    response_model=Transcription | VerboseTranscription,
    responses=ANSWERS,
)
async def create_translation(
    form: Annotated[TranslationForm, Multipart], request: Request, server: ServerDep
) -> Written:
    return await _write_down(form, request, server)


async def _write_down(form: TranslationForm, request: Request, server: Server) -> Written:
    server.require_model(form.model)
    form.refuse_unsupported()
    question = Question(form, request.state.request_id, server.backend)
    recording = RecordingReader(await form.file.read(), server.settings.max_recording_s)
    head = await recording.read(Cutting().longest_s)
    if recording.ended and not form.needs_pieces:
        return await _untimed_answer(form, request, question.whole(head))
    await recording.require_length()
    pieces = recording.pieces(head, form.cutting() or Cutting())
    written = segments(pieces, question.about, form.temperature)
    if form.is_timed:
        return timed_answer(form, await collect(request, written), recording.seconds)
    return await _untimed_answer(form, request, _deltas(written))


async def _untimed_answer(
    form: TranslationForm, request: Request, deltas: AsyncGenerator[ThinkerDelta]
) -> Written:
    if form.stream:
        return events(await first_then_rest(request, transcript_events(deltas)))
    return untimed_answer(form, await collect(request, deltas))


async def _deltas(written: AsyncGenerator[Segment]) -> AsyncGenerator[ThinkerDelta]:
    async with aclosing(written):
        async for segment in written:
            yield ThinkerDelta(text=segment.text, usage=segment.usage)
