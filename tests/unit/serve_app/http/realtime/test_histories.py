"""What the model reads of the turns before, by the ids that the graph gave."""

from deployments.messages import Message, Role, SpeechDelta, SpokenPart, ToolCall, Usage
from serve_app.http.application import create_http_app
from serve_app.http.settings import HttpSettings
from tests.integration.http.conftest import ScriptedBackend
from tests.unit.serve_app.http.realtime.client import connected

SOUND = bytes(2 * 4800)
END = SpeechDelta(finish_reason="stop", usage=Usage(1, 1))


async def remembered(*script: SpeechDelta) -> list[Message]:
    """The assistant's messages in the prompt of the turn after an answer."""
    backend = ScriptedBackend(*script, END)
    app = create_http_app(backend, HttpSettings())  # type: ignore[arg-type]
    async with connected(app) as client:
        await client.say("hello")
        await client.answer()
        await client.say("and now?")
        await client.answer()
    messages = backend.thinker_requests[1].messages
    return [message for message in messages if message.role is Role.ASSISTANT]


async def test_ids_that_came_before_the_first_sound_are_remembered() -> None:
    (message,) = await remembered(
        SpeechDelta(token_ids=(1, 2)),
        SpeechDelta(token_ids=(3,), text="hi", pcm=SOUND),
        SpeechDelta(token_ids=(4,)),
    )
    assert message.parts == (SpokenPart((1, 2, 3, 4)),)


async def test_a_call_in_a_spoken_turn_is_remembered_once() -> None:
    call = ToolCall("look_up", "{}")
    spoken = SpeechDelta(token_ids=(3,), text="hi", pcm=SOUND)
    for script in (
        (spoken, SpeechDelta(token_ids=(4,), tool_calls=(call,))),
        (SpeechDelta(token_ids=(4,), tool_calls=(call,)), spoken),
    ):
        (message,) = await remembered(*script)
        assert message.parts == (SpokenPart(tuple(i for d in script for i in d.token_ids)),)


async def test_a_call_alone_is_remembered_as_a_call() -> None:
    call = ToolCall("look_up", "{}")
    (message,) = await remembered(SpeechDelta(token_ids=(4,), tool_calls=(call,)))
    assert message.parts == (call,)
