"""`POST /v1/chat/completions`: a conversation in text and speech."""

from collections.abc import AsyncGenerator

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from deployments.errors import RequestError, UnsupportedRequest
from deployments.messages import SpeechRequest, ThinkerRequest
from serve_app.api_types import voice_name
from serve_app.chat_answer import ChatWriter, Delta
from serve_app.chat_prompt import chat_messages
from serve_app.chat_types import ChatBody, ChatCompletion
from serve_app.server import Server, ServerDep, require_json, require_ready_for_text
from serve_app.streaming import collect, complete, events, first_then_rest

WHOLE_FORMATS = ("wav", "pcm16")
STREAMED_FORMATS = ("pcm16",)  # OpenAI's rule too

router = APIRouter(
    tags=["chat"], dependencies=[Depends(require_json), Depends(require_ready_for_text)]
)


@router.post(
    "/chat/completions",
    summary="Answer a conversation",
    response_model=ChatCompletion,
    responses={200: {"content": {"text/event-stream": {}}}},
)
async def create_completion(
    body: ChatBody, request: Request, server: ServerDep
) -> Response | ChatCompletion:
    check(body, server)
    if body.spoken:
        await server.readiness.require()
    thinker = ThinkerRequest(
        request_id=request.state.request_id,
        messages=await chat_messages(body, server),
        reply="speech" if body.spoken else "text",
        sampling=body.sampling(),
    )
    writer = ChatWriter(body, request.state.request_id, server.spoken_turns)
    if body.audio is not None and body.spoken:
        speech = SpeechRequest(thinker, voice_name(body.audio.voice))
        deltas: AsyncGenerator[Delta] = complete(server.backend.speech(speech))
    else:
        deltas = complete(server.backend.text(thinker))
    if body.stream:
        chunks = await first_then_rest(request, writer.chunks(deltas))
        return events(chunks, done_mark=True)
    return await writer.whole(await collect(request, deltas))


def check(body: ChatBody, server: Server) -> None:
    """Refuse what cannot be answered, before anything is decoded."""
    server.require_model(body.model)
    body.refuse_unsupported()
    if body.messages[-1].role == "assistant":
        raise UnsupportedRequest("the last message is the assistant's own", param="messages")
    if not body.spoken:
        return
    if body.audio is None:
        raise RequestError("a spoken answer needs `audio`: its format and voice", param="audio")
    formats = STREAMED_FORMATS if body.stream else WHOLE_FORMATS
    if body.audio.format not in formats:
        how = "streamed" if body.stream else "whole"
        raise UnsupportedRequest(
            f"a {how} answer cannot be {body.audio.format}; supported now: {', '.join(formats)}",
            param="audio.format",
        )
