"""How an interpreter's session begins, and what its client may change."""

from typing import Any

import pytest

from serve_app.http.settings import HttpSettings
from tests.integration.http.conftest import openai_client
from tests.unit.serve_app.http.realtime.client import Client, Closed, Denied, connected
from tests.unit.serve_app.http.realtime_translation.conftest import (
    KINDS,
    PATH,
    InterpretingGraph,
    interpreting,
    opened,
)


async def update(client: Client, **audio: Any) -> dict[str, Any]:
    await client.send("session.update", session={"audio": audio})
    updated: dict[str, Any] = (await client.expect("session.updated"))["session"]
    return updated


async def test_a_session_begins_into_english_without_a_transcript(graph: InterpretingGraph) -> None:
    async with opened(graph, model="gpt-realtime-translate") as client:
        session = (await client.expect("session.created"))["session"]
    assert (session["type"], session["model"]) == ("translation", "gpt-realtime-translate")
    assert session["audio"] == {
        "input": {"noise_reduction": None, "transcription": None},
        "output": {"language": "en"},
    }


async def test_an_update_changes_what_it_names_and_nothing_else(client: Client) -> None:
    await update(client, output={"language": "zh"})
    session = await update(client, input={"transcription": {"model": "whisper-1"}})
    assert session["audio"]["output"] == {"language": "zh"}
    assert session["audio"]["input"]["transcription"] == {"model": "whisper-1"}
    session = await update(client, input={"transcription": None})
    assert session["audio"]["input"]["transcription"] is None


@pytest.mark.parametrize(
    ("audio", "param", "says"),
    [
        ({"output": {"language": "fr"}}, "session.audio.output.language", "zh or en"),
        ({"output": {"voice": "nobody"}}, "session.audio.output.voice", "nobody"),
        ({"input": {"transcription": {"model": "none-such"}}}, "model", "none-such"),
        ({"input": {"transcription": {}}}, "session.audio.input.transcription.model", "required"),
    ],
)
async def test_what_cannot_be_is_refused_and_changes_nothing(
    client: Client, audio: dict[str, Any], param: str, says: str
) -> None:
    error = await client.refused("session.update", session={"audio": audio})
    assert error["param"] == param
    assert says in error["message"]
    assert (await update(client))["audio"]["output"] == {"language": "en"}


async def test_other_events_of_the_realtime_api_are_refused(client: Client) -> None:
    error = await client.refused("response.create")
    assert error["code"] == "invalid_value"


async def test_a_server_without_token2wav_interprets_nothing() -> None:
    graph = InterpretingGraph()
    graph.noted._synthesizer = None
    await graph.noted.start()
    async with opened(graph) as client:
        assert "text only" in (await client.expect("error"))["error"]["message"]
        assert await client.closed() == 1008


async def test_an_unknown_model_is_refused_before_the_handshake(graph: InterpretingGraph) -> None:
    with pytest.raises(Denied) as denied:
        async with opened(graph, model="none-such"):
            pass
    assert denied.value.status == 404


async def test_a_client_secret_opens_its_session_and_no_conversation() -> None:
    graph = await interpreting(api_keys={"anna": "annas-key"})
    async with openai_client(graph.app, "annas-key") as client:
        secret = await client.realtime.translations.client_secrets.create(
            session={"model": "gpt-realtime-translate", "audio": {"output": {"language": "zh"}}}
        )
    assert secret.session.audio.output is not None
    assert secret.session.audio.output.language == "zh"
    headers = {"authorization": f"Bearer {secret.value}"}
    async with connected(graph.app, headers, path=PATH, kinds=KINDS) as speaker:
        session = (await speaker.expect("session.created"))["session"]
        assert session["audio"]["output"]["language"] == "zh"
    async with connected(graph.app, headers) as talker:
        assert (await talker.expect("error"))["error"]["param"] == "session.type"
        with pytest.raises(Closed):
            await talker.receive()


async def test_it_wants_a_key_where_the_server_has_keys() -> None:
    graph = await interpreting(api_keys={"anna": "annas-key"})
    with pytest.raises(Denied) as denied:
        async with opened(graph):
            pass
    assert denied.value.status == 401


def test_openais_name_of_the_task_is_an_alias() -> None:
    assert "gpt-realtime-translate" in HttpSettings().model_aliases
