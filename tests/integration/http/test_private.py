"""Keys, texts and recordings are in no line of the ingress, whatever happens to a request."""

import base64
import json
import logging
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from ray.exceptions import RayTaskError

from deployments.errors import EngineFailed, ServerFull
from deployments.messages import SpeechDelta
from serve_app.http.application import create_http_app
from serve_app.http.serve_middlewares import Front
from serve_app.http.settings import HttpSettings
from tests.integration.http.conftest import ScriptedBackend
from tests.integration.http.helpers import MODEL, wav_of

KEY, TEXT = "sk-very-private", "my doctor says so"
WAV = wav_of(seconds=0.2)
RECORDING = base64.b64encode(WAV).decode()
PRIVATE = (KEY, TEXT, RECORDING[60:120], repr(WAV[60:90])[2:-1], "Bearer")
HEADERS = {"Authorization": f"Bearer {KEY}"}
SPEECH = {"model": MODEL, "input": TEXT, "instructions": TEXT, "response_format": "pcm"}
PARTS = [
    {"type": "text", "text": TEXT},
    {"type": "input_audio", "input_audio": {"data": RECORDING, "format": "wav"}},
]
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": PARTS}]}
TOLD = f"the prompt {TEXT!r} with {RECORDING} and {WAV!r} of {KEY}"
BEGUN = (SpeechDelta(pcm=b"\1\0", text="so"),)


def quoting(error: Exception) -> Exception:
    """What a stage raised in front of an error that quotes its request, as a caller gets it."""
    error.__cause__ = ValueError(TOLD)
    wrapped: Exception = RayTaskError("f", f"Traceback: {TOLD}", error).as_instanceof_cause()
    return wrapped


FAILURES = [
    KeyError(TOLD),
    quoting(RuntimeError(TOLD)),
    quoting(EngineFailed("the engine failed")),
    ServerFull(),
]


@pytest.fixture
def written(caplog: pytest.LogCaptureFixture) -> Iterator[Any]:
    """All that is logged at any level, tracebacks too, as a handler writes it."""
    caplog.set_level(logging.DEBUG)
    formatter = logging.Formatter("%(name)s %(levelname)s %(message)s")

    def lines() -> str:
        ours = [record for record in caplog.records if not record.name.startswith("httpx")]
        return "\n".join(map(formatter.format, ours))

    yield lines


async def send_all(client: httpx.AsyncClient) -> list[int]:
    """Every kind of request, right and wrong; gives the statuses."""
    form = {"model": MODEL, "prompt": TEXT}
    file, damaged = {"file": ("a.wav", WAV)}, {"file": (f"{TEXT}.wav", WAV[:40])}
    answers = []
    for body in (SPEECH, SPEECH | {"stream_format": "sse"}, SPEECH | {"speed": TEXT}):
        answers.append(await client.post("/v1/audio/speech", json=body))
    for body in (CHAT, CHAT | {"stream": True}, CHAT | {"tools": TEXT}):
        answers.append(await client.post("/v1/chat/completions", json=body))
    for files in (file, damaged):
        answers.append(await client.post("/v1/audio/transcriptions", data=form, files=files))
    broken = json.dumps(CHAT)[:-5]
    answers.append(await client.post("/v1/chat/completions", content=broken, headers=JSON))
    wrong = {"Authorization": f"Bearer {KEY}-not"}
    answers.append(await client.post("/v1/audio/speech", json=SPEECH, headers=wrong))
    answers.append(await client.get("/v1/models", params={"api_key": KEY, "q": TEXT}))
    return [answer.status_code for answer in answers]


JSON = {"content-type": "application/json"}


@pytest.mark.parametrize("begun", [(), BEGUN], ids=["before", "after"])
@pytest.mark.parametrize("failure", FAILURES, ids=lambda error: type(error).__name__)
async def test_no_line_of_the_ingress_repeats_a_key_a_text_or_a_recording(
    written: Any, begun: tuple[object, ...], failure: Exception
) -> None:
    backend = ScriptedBackend(*begun, failure)
    app = Front(create_http_app(backend, HttpSettings(models=(MODEL,), api_keys=(KEY,))))  # type: ignore[arg-type]
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://server", headers=HEADERS
    ) as client:
        statuses = await send_all(client)
    assert 401 in statuses and 400 in statuses
    log = written()
    assert "POST '/v1/chat/completions'" in log  # the lines are there
    for private in PRIVATE:
        assert private not in log, log


async def test_what_leaves_the_application_for_the_server_repeats_nothing_either() -> None:
    backend = ScriptedBackend(SpeechDelta(pcm=b"\1\0"), quoting(KeyError(TOLD)))
    app = create_http_app(backend, HttpSettings(models=(MODEL,)))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://server"
    ) as client:
        with pytest.raises(RuntimeError, match="a stream was broken off") as raised:
            await client.post("/v1/audio/speech", json=SPEECH)
    record = logging.LogRecord("server", 40, "", 0, "failed", (), raised._excinfo)
    assert TEXT not in logging.Formatter().format(record)
