"""`POST /v1/chat/completions`: a conversation in text and speech."""

from collections.abc import AsyncGenerator
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from deployments.errors import RequestError, UnsupportedRequest
from deployments.messages import SpeechRequest, ThinkerRequest
from serve_app.graph.answers import Delta, complete
from serve_app.http.body_checks import CheckedRoute
from serve_app.http.chat import tool_choice
from serve_app.http.chat.answer import ChatWriter
from serve_app.http.chat.conversation import conversation_of
from serve_app.http.chat.prompt import chat_messages
from serve_app.http.chat.spoken_turns import CallersTurns
from serve_app.http.chat.types import ChatBody, ChatChunk, ChatCompletion
from serve_app.http.dependencies import Server, ServerDep, require_json, require_ready_for_text
from serve_app.http.documented import OF_BODIES, as_events, error_answers
from serve_app.http.streaming import collect, events, first_then_rest

STREAMED_FORMATS = ("pcm16",)  # OpenAI's rule too
STREAMED = {"text/event-stream": as_events(ChatChunk, done_mark=True)}

router = APIRouter(
    tags=["chat"],
    dependencies=[Depends(require_json), Depends(require_ready_for_text)],
    route_class=CheckedRoute,
)


async def get_spoken_turns(request: Request) -> CallersTurns:
    """The turns of who sent the request: `request.state.owner` names whose key it came by."""
    return CallersTurns(request.app.state.spoken_turns, request.state.owner)


SpokenTurnsDep = Annotated[CallersTurns, Depends(get_spoken_turns)]


@router.post(
    "/chat/completions",
    summary="Answer a conversation",
    response_model=ChatCompletion,
    responses={200: {"content": STREAMED}, **error_answers(*OF_BODIES, 404)},
)
async def create_completion(
    body: ChatBody, request: Request, server: ServerDep, turns: SpokenTurnsDep
) -> Response | ChatCompletion:
    check(body, server)
    must_call, schema = tool_choice.functions_to_call(body), tool_choice.json_schema(body)
    spoken = body.spoken and not must_call  # a call has no sound
    if spoken:
        await server.readiness.require()
    messages = await chat_messages(body, server, turns)
    thinker = ThinkerRequest(
        request_id=request.state.request_id,
        messages=messages,
        reply="speech" if spoken else "text",
        sampling=body.sampling(),
        json_schema=schema,
        must_call=must_call,
        at_most_one_call=body.parallel_tool_calls is False,
        priority=body.priority,
        conversation=conversation_of(messages),
    )
    writer = ChatWriter(body, turns, spoken=spoken)
    if body.audio is not None and spoken:
        voice = await server.voice(body.audio.voice, "audio.voice")
        speech = SpeechRequest(thinker, voice, streamed=bool(body.stream))
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
    tool_choice.check(body)
    if body.messages[-1].role == "assistant":
        raise UnsupportedRequest("the last message is the assistant's own", param="messages")
    if not body.spoken:
        return
    if body.audio is None:
        raise RequestError("a spoken answer needs `audio`: its format and voice", param="audio")
    if body.stream and body.audio.format not in STREAMED_FORMATS:
        raise UnsupportedRequest(
            f"a streamed answer cannot be {body.audio.format}, only {STREAMED_FORMATS[0]}",
            param="audio.format",
        )
