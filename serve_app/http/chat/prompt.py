"""OpenAI's conversation → the messages of the model's own roles."""

import json
from collections.abc import Sequence

from deployments.errors import UnsupportedRequest
from deployments.messages import (
    INPUT_SAMPLE_RATE_HZ,
    AudioPart,
    Message,
    Part,
    Role,
    SpokenPart,
    TextPart,
    ToolCall,
)
from deployments.thinker import tasks
from serve_app.http.chat.spoken_turns import CallersTurns
from serve_app.http.chat.tool_choice import offered_tools
from serve_app.http.chat.types import ChatBody, ChatMessage, ContentPart
from serve_app.http.dependencies import Server
from serve_app.http.recordings import file_of
from serve_app.http.types import InputAudio

ROLES = {
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "user": Role.HUMAN,
    "assistant": Role.ASSISTANT,
    "tool": Role.TOOL_RESULT,
}


async def chat_messages(body: ChatBody, server: Server, turns: CallersTurns) -> tuple[Message, ...]:
    """The whole prompt of `body`.

    Without a system message it begins with the server's own. Tools stand after the system
    messages, as the model was trained.

    Raises:
        AudioUnreadable, AudioTooLong: a recording; the limit counts all of a request's together.
        SpokenTurnInvalid, SpokenTurnExpired, SpokenTurnGone: an `audio.id`.
        UnsupportedRequest: a recording in another role than the user's.
    """
    messages: list[Message] = []
    spent_s = 0.0
    for index, message in enumerate(body.messages):
        parts = await _parts(message, f"messages[{index}]", server, turns, spent_s)
        messages.append(Message(ROLES[message.role], parts))
        spent_s += _seconds_of(parts)

    head = 0
    while head < len(messages) and messages[head].role is Role.SYSTEM:
        head += 1
    if not any(message.role is Role.SYSTEM for message in messages):
        messages.insert(0, Message(Role.SYSTEM, (TextPart(tasks.CONVERSE),)))
        head = 1
    if tools := offered_tools(body):
        schemas = [tool.model_dump(exclude_none=True) for tool in tools]
        text = json.dumps(schemas, ensure_ascii=False)
        messages.insert(head, Message(Role.TOOL_SCHEMAS, (TextPart(text),)))
    return tuple(messages)


async def _parts(
    message: ChatMessage, place: str, server: Server, turns: CallersTurns, spent_s: float
) -> tuple[Part, ...]:
    if message.role == "assistant" and message.audio is not None:
        # Its ids hold all of the turn, tool calls too, whatever else the message repeats of it.
        return (SpokenPart(await turns.token_ids(message.audio.id, f"{place}.audio.id")),)
    parts: list[Part] = []
    for index, part in enumerate(message.content):
        if part.input_audio is not None and part.type == "input_audio":
            param = f"{place}.content[{index}].input_audio"
            if message.role != "user":
                raise UnsupportedRequest(f"a {message.role} message cannot bring audio", param)
            before_s = spent_s + _seconds_of(parts)
            parts.append(await _recording(part.input_audio, param, server, before_s))
        else:
            parts.append(TextPart(_text_of(part)))
    if message.role == "assistant":
        calls = [call.function for call in message.tool_calls or ()]
        parts += [ToolCall(call.name, call.arguments) for call in calls]
    return tuple(parts)


def _text_of(part: ContentPart) -> str:
    return (part.refusal if part.type == "refusal" else part.text) or ""


async def _recording(audio: InputAudio, param: str, server: Server, spent_s: float) -> AudioPart:
    return AudioPart(await server.decode(await file_of(audio, param), param, spent_s))


def _seconds_of(parts: Sequence[Part]) -> float:
    recordings = [part for part in parts if isinstance(part, AudioPart)]
    return sum(len(part.samples) for part in recordings) / INPUT_SAMPLE_RATE_HZ
