"""A line is sent until it is answered, and what is sent asks for little."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve_app.commands.batch import sending
from serve_app.commands.batch.answers import Answer
from serve_app.commands.batch.lines import Line, read_lines
from serve_app.commands.batch.sending import Patience, Sender, ServerGone
from serve_app.commands.batch.sounds import Sounds

CHAT, SPEECH = "/v1/chat/completions", "/v1/audio/speech"
TRANSCRIPTION = "/v1/audio/transcriptions"
OK = httpx.Response(200, json={"text": "hello"})
Respond = Callable[[httpx.Request], httpx.Response]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "FIRST_PAUSE_S", 0.0)


def line(folder: Path, url: str, **body: Any) -> Line:
    fields = {"custom_id": "a", "method": "POST", "url": url, "body": body}
    (folder / "in.jsonl").write_text(json.dumps(fields))
    (one,) = read_lines(folder / "in.jsonl", folder)
    assert isinstance(one, Line)
    return one


async def sent(folder: Path, what: Line, respond: Respond, patience_s: float = 60.0) -> Answer:
    transport = httpx.MockTransport(respond)
    async with httpx.AsyncClient(base_url="http://server", transport=transport) as http:
        sounds = Sounds(folder / "out.jsonl")
        return await Sender(http, Patience(patience_s), folder, sounds).answer(what)


def in_turn(*responses: httpx.Response | Exception) -> Respond:
    left = list(responses)

    def respond(request: httpx.Request) -> httpx.Response:
        response = left.pop(0)
        if isinstance(response, Exception):
            raise response
        return response

    return respond


@pytest.mark.parametrize(
    "first",
    [
        httpx.Response(429, headers={"Retry-After": "0"}),
        httpx.Response(500),
        httpx.Response(502),
        httpx.Response(503, headers={"Retry-After": "soon"}),
        httpx.Response(504),
        httpx.ConnectError("refused"),
        httpx.RemoteProtocolError("broken off"),
        httpx.ReadTimeout("slow"),
    ],
    ids=lambda first: str(getattr(first, "status_code", type(first).__name__)),
)
async def test_what_may_do_better_later_is_sent_again(
    tmp_path: Path, first: httpx.Response | Exception
) -> None:
    answer = await sent(tmp_path, line(tmp_path, CHAT), in_turn(first, OK))
    assert (answer.status, answer.body) == (200, {"text": "hello"})


async def test_an_error_of_the_line_is_its_answer_at_once(tmp_path: Path) -> None:
    refused = httpx.Response(404, json={"error": {"message": "no such model"}})
    answer = await sent(tmp_path, line(tmp_path, CHAT), in_turn(refused))
    assert answer.complaint == "404: no such model"


@pytest.mark.parametrize("fault", [httpx.Response(500), httpx.ReadError("gone")])
async def test_a_line_that_always_meets_a_fault_is_given_up_after_three_times(
    tmp_path: Path, fault: httpx.Response | Exception
) -> None:
    answer = await sent(tmp_path, line(tmp_path, CHAT), in_turn(fault, fault, fault))
    assert answer.status is None and (answer.error or "").endswith(", 3 times")


async def test_a_page_in_place_of_sound_is_no_answer(tmp_path: Path) -> None:
    page = httpx.Response(200, html="<p>Log in</p>")
    answer = await sent(tmp_path, line(tmp_path, SPEECH), in_turn(page, page, page))
    assert answer.error == "the server answered text/html, no sound, 3 times"
    assert not (tmp_path / "out.audio").exists()


async def test_a_server_that_is_absent_for_too_long_ends_the_run(tmp_path: Path) -> None:
    def absent(request: httpx.Request) -> httpx.Response:
        return httpx.Response(503, json={"error": {"message": "starting"}})

    with pytest.raises(ServerGone, match=r"has not answered for -1 s: 503: starting"):
        await sent(tmp_path, line(tmp_path, CHAT), absent, patience_s=-1)


async def test_a_recording_that_is_gone_meanwhile_is_said_and_not_sent(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    what = line(tmp_path, TRANSCRIPTION, file="a.wav")
    (tmp_path / "a.wav").unlink()
    answer = await sent(tmp_path, what, in_turn())
    assert answer.error == "body.file cannot be read: No such file or directory"


@pytest.mark.parametrize(("own", "tier"), [({}, "flex"), ({"service_tier": "auto"}, "auto")])
@pytest.mark.parametrize("url", [CHAT, SPEECH])
async def test_a_line_without_a_tier_lets_others_go_first(
    tmp_path: Path, url: str, own: dict[str, str], tier: str
) -> None:
    bodies: list[Any] = []

    def respond(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        return httpx.Response(404)

    await sent(tmp_path, line(tmp_path, url, model="m", **own), respond)
    whole = {"stream": False} if url == SPEECH else {}
    assert bodies == [{"model": "m", "service_tier": tier, **whole}]


async def test_the_fields_of_a_form_have_the_names_that_openais_clients_give_them(
    tmp_path: Path,
) -> None:
    forms: list[str] = []

    def respond(request: httpx.Request) -> httpx.Response:
        forms.append(request.read().decode())
        return OK

    (tmp_path / "a.wav").write_bytes(b"RIFF")
    vad = {"type": "server_vad", "threshold": 0.5}
    what = line(
        tmp_path,
        TRANSCRIPTION,
        file="a.wav",
        timestamp_granularities=["segment"],
        chunking_strategy=vad,
        prompt=None,
    )
    await sent(tmp_path, what, respond)
    for name, value in (
        ("timestamp_granularities[]", "segment"),
        ("chunking_strategy[type]", "server_vad"),
        ("chunking_strategy[threshold]", "0.5"),
        ("service_tier", "flex"),
    ):
        assert f'name="{name}"\r\n\r\n{value}\r\n' in forms[0]
    assert 'name="file"; filename="a.wav"' in forms[0] and "prompt" not in forms[0]
