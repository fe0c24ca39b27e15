"""How `session.update` changes a session, and what it refuses."""

from typing import Any

import pytest

from tests.unit.serve_app.http.realtime.client import Client, connected
from tests.unit.serve_app.http.realtime.conftest import started

PCM = {"type": "audio/pcm", "rate": 24000}
LIVEKITS = {
    "type": "realtime",
    "model": "gpt-realtime",
    "output_modalities": ["audio"],
    "audio": {
        "input": {
            "format": PCM,
            "noise_reduction": None,
            "transcription": {"model": "gpt-4o-mini-transcribe"},
            "turn_detection": {
                "type": "semantic_vad",
                "eagerness": "medium",
                "create_response": True,
                "interrupt_response": True,
            },
        },
        "output": {"format": PCM, "speed": 1.0, "voice": "marin"},
    },
    "max_output_tokens": "inf",
    "tool_choice": "auto",
    "tracing": None,
}
TOOL = {
    "type": "function",
    "name": "look_up",
    "parameters": {"$schema": "x", "type": "object", "additionalProperties": False},
}


async def test_livekits_first_update_is_taken_as_it_comes(client: Client) -> None:
    session = await client.update(**LIVEKITS)
    assert session["audio"]["output"]["voice"] == "marin"
    assert (
        session["audio"]["input"]["turn_detection"]
        == (
            LIVEKITS["audio"]["input"]["turn_detection"]  # type: ignore[index]
        )
    )
    assert session["audio"]["input"]["transcription"] == {"model": "gpt-4o-mini-transcribe"}


async def test_an_update_changes_what_it_names_and_no_more(client: Client) -> None:
    await client.update(**LIVEKITS)
    await client.update(instructions="Be brief.")
    session = await client.update(tools=[TOOL])
    assert session["instructions"] == "Be brief."
    assert session["tools"] == [TOOL]
    assert session["audio"]["output"]["voice"] == "marin"
    session = await client.update(audio={"output": {"speed": 0.5}})
    assert session["audio"]["output"] == {"format": PCM, "voice": "marin", "speed": 0.5}
    assert session["audio"]["input"]["turn_detection"]["type"] == "semantic_vad"


@pytest.mark.parametrize("off", [None, False])
async def test_null_and_pipecats_false_turn_detection_off(client: Client, off: Any) -> None:
    session = await client.update(audio={"input": {"turn_detection": off}})
    assert session["audio"]["input"]["turn_detection"] is None


async def test_empty_values_clear(client: Client) -> None:
    await client.update(instructions="Be brief.", tools=[TOOL])
    session = await client.update(instructions="", tools=[])
    assert (session["instructions"], session["tools"]) == ("", [])


async def test_detection_has_openais_defaults(client: Client) -> None:
    session = await client.update(audio={"input": {"turn_detection": {"type": "server_vad"}}})
    assert session["audio"]["input"]["turn_detection"] == {
        "type": "server_vad",
        "threshold": 0.5,
        "prefix_padding_ms": 300,
        "silence_duration_ms": 500,
        "idle_timeout_ms": None,
        "create_response": True,
        "interrupt_response": True,
    }


@pytest.mark.parametrize(
    ("session", "param"),
    [
        ({"output_modalities": ["smell"]}, "session.output_modalities[0]"),
        (
            {"audio": {"input": {"format": {"type": "audio/pcm", "rate": 16000}}}},
            "session.audio.input.format.rate",
        ),
        ({"audio": {"output": {"speed": 2.0}}}, "session.audio.output.speed"),
        ({"audio": {"output": {"voice": "nobody"}}}, "session.audio.output.voice"),
        ({"max_output_tokens": 5000}, "session.max_output_tokens"),
        ({"tools": [{"type": "mcp", "server_label": "x"}]}, "session.tools[0].type"),
        ({"type": "transcription"}, "session.type"),
        ({"model": "whale-song-1"}, "model"),
        (
            {"audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": 2}}}},
            "session.audio.input.turn_detection.threshold",
        ),
    ],
)
async def test_what_cannot_be_set_is_named_and_nothing_changes(
    client: Client, session: dict[str, Any], param: str
) -> None:
    error = await client.refused("session.update", session={"type": "realtime", **session})
    assert error["param"] == param
    assert (await client.update())["output_modalities"] == ["audio"]


async def test_unknown_fields_are_ignored(client: Client) -> None:
    session = await client.update(mood="good", audio={"input": {"gain": 3}})
    assert "mood" not in session


async def test_the_voice_stays_once_it_was_heard(client: Client) -> None:
    await client.update(audio={"output": {"voice": "anna"}})
    await client.say("hello")
    await client.answer()
    session = {"type": "realtime", "audio": {"output": {"voice": "default"}}}
    error = await client.refused("session.update", session=session)
    assert error["code"] == "cannot_update_voice"
    await client.update(audio={"output": {"voice": "anna", "speed": 1.1}})


@pytest.mark.parametrize(
    ("text", "code", "param"),
    [
        ("{", "invalid_value", None),
        ("[]", "invalid_value", None),
        ('{"a": 1}', "missing_required_parameter", "type"),
        ('{"type": "session.dance"}', "invalid_value", "type"),
        ('{"type": "conversation.item.delete"}', "missing_required_parameter", "item_id"),
        ('{"type": "response.create", "response": {"input": 1}}', "invalid_value", None),
    ],
)
async def test_what_is_no_event_is_an_error_and_the_session_goes_on(
    client: Client, text: str, code: str, param: str | None
) -> None:
    await client.send_text(text)
    error = (await client.expect("error"))["error"]
    assert error["code"] == code
    assert param is None or error["param"] == param
    await client.update()


async def test_no_event_is_larger_than_clients_take(client: Client) -> None:
    error = await client.refused(
        "session.update", session={"type": "realtime", "instructions": "x" * (300 << 10)}
    )
    assert error["param"] == "session"
    content = [{"type": "input_text", "text": "\0" * (100 << 10)}]
    item = {"type": "message", "role": "user", "content": content}
    error = await client.refused("conversation.item.create", item=item)
    assert error["param"] == "item"


async def test_a_server_without_token2wav_answers_in_text() -> None:
    graph = await started()
    graph.backend._synthesizer = None
    async with connected(graph.app) as client:
        session = (await client.expect("session.created"))["session"]
        assert session["output_modalities"] == ["text"]
        await client.say("hello")
        done = (await client.answer())[-1]["response"]
        assert done["output"][0]["content"] == [{"type": "output_text", "text": "hello"}]
