"""Five clients on `/v1/realtime`, with nothing changed but the address and the key.

OpenAI's in Python is the one of these tests' environment where it has none of its own.
"""

import json
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
from openai.types.realtime.realtime_server_event import RealtimeServerEvent
from pydantic import BaseModel, TypeAdapter

from tests.clients.runs import SCRIPTS, TEXT, TOKENS, Run, node_modules, output_of, python_of, run

CLIENTS = ("openai_python", "livekit", "pipecat", "agents", "openai_javascript")
SPOKEN = "heard 6.61 s"  # what the fake engine understands of the sample, cut as a turn
DELTA_S = 0.05  # for a piece of an answer: time enough to interrupt it
MAX_EVENT_BYTES = 256 << 10
KINDS: dict[str, TypeAdapter[BaseModel]] = {
    get_args(kind.model_fields["type"].annotation)[0]: TypeAdapter(kind)
    for kind in get_args(get_args(RealtimeServerEvent)[0])
}


@pytest.fixture(scope="module", params=CLIENTS)
def ran(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return client_run(request.param, tmp_path_factory.mktemp(request.param), delta_s=DELTA_S)


def client_run(client: str, folder: Path, *names: str, **settings: Any) -> Run:
    """What a client's script hears; all of its calls, or those of these `names`."""
    return run([*command_of(client, folder), *names], folder, **settings)


def command_of(client: str, folder: Path) -> list[str | Path]:
    if client == "openai_javascript":
        node_modules(folder)
        script = folder / "realtime.mjs"
        script.write_text((SCRIPTS / client / "realtime.mjs").read_text())
        return ["node", script]
    otherwise = Path(sys.executable) if client == "openai_python" else None
    return [python_of(client, otherwise), SCRIPTS / client / "realtime.py"]


def events_of(ran: Run) -> list[dict[str, Any]]:
    return [event for socket in ran.sockets for event in socket.sent]


def test_no_call_warns(ran: Run) -> None:
    assert ran.said == ""


def test_what_is_typed_is_answered_aloud(ran: Run) -> None:
    assert ran.heard["typed"] == TEXT
    assert ran.samples("typed.pcm") == 960 * TOKENS


def test_what_is_said_is_one_turn_and_is_answered_aloud(ran: Run) -> None:
    assert ran.heard["spoken"] == SPOKEN
    assert ran.samples("spoken.pcm") == 960 * 4 * len(SPOKEN)
    assert ran.heard.get("written", SPOKEN) == SPOKEN  # Pipecat asks for no transcript


def test_a_tool_is_called_and_its_result_is_read(ran: Run) -> None:
    assert ran.heard["call"][0] == "get_weather"
    assert ran.heard["result"].strip('"') == "rain"  # Pipecat's results are JSON


def test_speech_stops_an_answer(ran: Run) -> None:
    assert ran.heard.get("interrupted") or ran.heard["interrupted after"] < 60
    stopped = [
        event["response"]["status_details"]["reason"]
        for event in events_of(ran)
        if event["type"] == "response.done" and event["response"]["status"] == "cancelled"
    ]
    assert "turn_detected" in stopped


def test_a_restart_ends_a_session_and_the_next_one_answers(ran: Run) -> None:
    assert 1012 in [socket.code for socket in ran.sockets]
    assert ran.heard["after a restart"] in ("Are you there?", SPOKEN)


@pytest.mark.parametrize("ran", CLIENTS[:-1], indirect=True)  # JavaScript's has no such session
def test_a_transcription_session_writes_down_what_is_said(ran: Run) -> None:
    assert ran.heard["transcript"].startswith("heard ")


def test_every_event_is_one_of_openai_s_types_and_small(ran: Run) -> None:
    events = events_of(ran)
    assert len({event["type"] for event in events}) > 15
    for event in events:
        KINDS[event["type"]].validate_python(event)
        assert len(json.dumps(event)) <= MAX_EVENT_BYTES


def test_every_event_is_one_of_pipecat_s_models(ran: Run) -> None:
    talks = [socket for socket in ran.sockets if "intent=transcription" not in socket.path]
    events = [event for socket in talks for event in socket.sent]
    (ran.folder / "events.json").write_text(json.dumps(events))
    command = [python_of("pipecat"), SCRIPTS / "pipecat" / "validate.py"]
    assert output_of(command, ran.folder) == ""


@pytest.mark.parametrize("ran", CLIENTS[:1], indirect=True)
def test_openai_s_client_gets_the_whole_protocol(ran: Run) -> None:
    heard = ran.heard
    assert heard["interrupted"] == ["cancelled", "turn_detected"]
    assert heard["truncated"] == 480
    assert heard["cancelled"] == ["cancelled", "client_cancelled"]
    assert heard["restart"] == [1012]
    assert heard["instructions of a secret"] == "Be brief."
    assert heard["nothing to cancel"] == ["response_cancel_not_active", "mine"]
    assert heard["wrong key"] == ["InvalidStatus", 401]
    assert heard["no such model"] == ["InvalidStatus", 404]


@pytest.mark.parametrize("ran", ["livekit"], indirect=True)
def test_livekit_tells_a_new_session_the_history(ran: Run) -> None:
    assert ran.heard["history"] == ["Remember this.", "Are you there?"]
    assert ran.heard["errors"] == ran.heard["errors of an interruption"] == []
