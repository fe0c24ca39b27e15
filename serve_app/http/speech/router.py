"""`POST /v1/audio/speech`: a text, spoken."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi import APIRouter, Depends, Request
from fastapi.responses import StreamingResponse
from starlette.responses import Response

from deployments.errors import AnswerSilent, RequestError, UnsupportedRequest
from deployments.messages import SpeechDelta, Usage
from serve_app.graph.answers import all_of, uncut
from serve_app.http.body_checks import CheckedRoute
from serve_app.http.dependencies import Server, ServerDep, require_json, require_ready
from serve_app.http.documented import OF_BODIES, as_events, as_file, error_answers
from serve_app.http.speech.asking import passages_of, speech_request
from serve_app.http.speech.types import SpeechAudioDelta, SpeechAudioDone, SpeechBody
from serve_app.http.speech.whole import sound_file
from serve_app.http.streaming import StreamedBody, base64_of, events, first_then_rest
from serve_app.http.types import TokenUsage
from serve_app.sound.encoding.encoder_threads import encoding
from serve_app.sound.encoding.format_table import FORMATS, MEDIA_TYPES, AudioFormat
from serve_app.sound.spoken_text import spoken_text
from serve_app.sound.text_passages import can_be_spoken

SENT = {kind: as_file(kind) for kind in MEDIA_TYPES}
SENT["text/event-stream"] = as_events(SpeechAudioDelta | SpeechAudioDone)

router = APIRouter(
    tags=["audio"],
    dependencies=[Depends(require_json), Depends(require_ready)],
    route_class=CheckedRoute,
)


@router.post(
    "/audio/speech",
    summary="Speak a text",
    response_class=StreamingResponse,
    responses={200: {"content": SENT}, **error_answers(*OF_BODIES, 404, 422)},
)
async def create_speech(body: SpeechBody, request: Request, server: ServerDep) -> Response:
    form, text = check(body, server)
    parts = await passages_of(text, server.settings.max_passage_s)
    voice = await server.voice(body.voice, "voice")
    speech = speech_request(body, parts, voice, request.state.request_id, streamed=body.stream)
    speed = speech.speed
    spoken = all_of(uncut(server.backend.speech(speech)), answers=len(parts))
    if not body.stream:
        return await sound_file(request, spoken, form, speed)
    if body.stream_format == "sse":
        return events(await first_then_rest(request, sound_events(spoken, form, speed)))
    sound = await first_then_rest(request, sound_bytes(spoken, form, speed))
    return StreamedBody(sound, form.media_type)


def check(body: SpeechBody, server: Server) -> tuple[AudioFormat, str]:
    """Refuse what cannot be spoken; gives the format of the answer and what is to be spoken."""
    server.require_model(body.model)
    if body.stream_format == "sse" and not body.stream:
        raise UnsupportedRequest(
            "stream=false has no events: stream_format='sse' needs stream=true",
            param="stream_format",
        )
    limit = server.settings.max_input_chars
    if len(body.input) > limit:
        text = f"the input has {len(body.input)} characters, the limit is {limit}"
        raise RequestError(text, param="input")
    text = spoken_text(body.input)
    if not can_be_spoken(text):
        raise RequestError("nothing to speak: the input has no letter and no digit", param="input")
    return FORMATS[body.response_format], text


async def sound_bytes(
    spoken: AsyncGenerator[SpeechDelta], form: AudioFormat, speed: float
) -> AsyncGenerator[bytes]:
    """The encoded sound of an answer, piece by piece, none of them empty.

    Raises:
        AnswerSilent: there is no sound in it.
        AnswerCut: the sound ends before the text.
    """
    async with aclosing(_encoded(spoken, form, speed)) as pieces:
        async for piece, _ in pieces:
            if piece:
                yield piece


async def sound_events(
    spoken: AsyncGenerator[SpeechDelta], form: AudioFormat, speed: float
) -> AsyncGenerator[SpeechAudioDelta | SpeechAudioDone]:
    """The same as events; the token counts come with the last one."""
    usage = Usage(0, 0)
    async with aclosing(_encoded(spoken, form, speed)) as pieces:
        async for piece, known in pieces:
            usage = known or usage
            if piece:
                yield SpeechAudioDelta(audio=base64_of(piece))
    yield SpeechAudioDone(usage=TokenUsage.of(usage))


async def _encoded(
    spoken: AsyncGenerator[SpeechDelta], form: AudioFormat, speed: float
) -> AsyncGenerator[tuple[bytes, Usage | None]]:
    heard = False
    async with aclosing(spoken), encoding(form, speed) as sound:
        async for delta in spoken:
            heard = heard or bool(delta.pcm)
            yield await sound.encode(delta.pcm) if delta.pcm else b"", delta.usage
        if not heard:
            raise AnswerSilent("this input")
        yield await sound.finish(), None
