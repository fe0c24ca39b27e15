"""What careless clients send: other types, absurd numbers, odd names, cut bodies. A 4xx by name."""

import asyncio
import base64
import io
import json
import zipfile
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
import pytest_asyncio
import soundfile

from deployments.voice_store import VoiceStore
from serve_app.http.application import create_http_app
from serve_app.http.serve_middlewares import Front
from serve_app.sound.encoding.format_table import FORMATS
from tests.integration.http.conftest import Graph
from tests.integration.http.helpers import MODEL, eventually, wav_of

SPEECH: dict[str, Any] = {"model": MODEL, "input": "Yes.", "response_format": "pcm"}
CHAT: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}


@pytest_asyncio.fixture(scope="module")
async def graph() -> Graph:
    """One for all of these tests: none of them leaves anything behind."""
    graph = Graph()
    await graph.backend.start()
    return graph


@pytest_asyncio.fixture(scope="module")
async def raw(graph: Graph) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(Front(graph.app), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        yield client
    assert graph.idle()


def param_of(answer: httpx.Response) -> Any:
    assert answer.status_code == 400, answer.text
    return answer.json()["error"]["param"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("max_tokens", value) for value in (True, "1", 1.5, 1e308, 0, -1, [1], {})),
        *(("temperature", value) for value in (True, "0.5", -0.1, 1e308, [0.5])),
        *(("seed", value) for value in (True, "3", 0.5, 2**63, -(2**63) - 1, 10**30)),
        *(("n", value) for value in (True, "1", 1.5)),
        *(("stream", value) for value in (1, 0, "true", "no")),
        *(("parallel_tool_calls", value) for value in (0, "false")),
        *(("top_p", value) for value in (0, 5e-324, 1.1, True)),
        *(("repetition_penalty", value) for value in (0, 5e-324, 1e-30, 1e308, -1, True)),
        *(("modalities", value) for value in ("audio", [], ["video"], {}, ["text"] * 99)),
        *(("stop", value) for value in (1, [1], {}, ["x"] * 17)),
        *(("tools", value) for value in ({}, [{}], "f", [[]])),
        *(("messages", value) for value in ([], {}, "hello", None, [[]], ["hello"])),
        *(("model", value) for value in (1, None, [], {})),
    ],
    ids=repr,
)
async def test_a_value_of_another_type_or_size_is_a_400_that_names_its_field(
    raw: httpx.AsyncClient, name: str, value: Any
) -> None:
    body = json.dumps(CHAT | {name: value})
    json_type = {"content-type": "application/json"}
    answer = await raw.post("/v1/chat/completions", content=body, headers=json_type)
    assert str(param_of(answer)).startswith(name)


@pytest.mark.parametrize("value", [1.0, 20, 20.0, 2**40])
async def test_an_integer_may_be_written_with_a_point(raw: httpx.AsyncClient, value: Any) -> None:
    answer = await raw.post("/v1/chat/completions", json=CHAT | {"max_tokens": value})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("speed", value) for value in (True, "1", 0.24, 4.1, -1, 1e308)),
        *(("input", value) for value in ("", 1, None, ["Yes."], " ", "\0", "\u202e", "***")),
        *(("voice", value) for value in (1, True, [], {}, {"id": 1}, {"name": "anna"})),
        *(("response_format", value) for value in ("", "MP3", 1, "mp3\0")),
        *(("stream_format", value) for value in ("SSE", True)),
        *(("instructions", value) for value in (1, ["Whisper."])),
    ],
    ids=repr,
)
async def test_the_same_of_a_text_to_speak(raw: httpx.AsyncClient, name: str, value: Any) -> None:
    answer = await raw.post("/v1/audio/speech", json=SPEECH | {name: value})
    assert str(param_of(answer)).startswith(name)


@pytest.mark.parametrize("body", ["[1]", '"x"', "null", "1", "true", "{}"])
@pytest.mark.parametrize("path", ["chat/completions", "audio/speech"])
async def test_a_body_that_is_no_request_is_a_400_that_says_so(
    raw: httpx.AsyncClient, path: str, body: str
) -> None:
    json_type = {"content-type": "application/json"}
    answer = await raw.post(f"/v1/{path}", content=body, headers=json_type)
    error = answer.json()["error"]
    assert answer.status_code == 400
    wanted = "model: Field required" if body == "{}" else "the body must be a JSON object"
    assert error["message"] == wanted


@pytest.mark.parametrize("sound", [b"a text", wav_of(0.1)])
async def test_a_file_without_a_filename_is_a_400_that_says_what_is_missing(
    raw: httpx.AsyncClient, sound: bytes
) -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n%s\r\n--b--\r\n' % sound
    form_type = {"content-type": "multipart/form-data; boundary=b"}
    answer = await raw.post("/v1/audio/transcriptions", content=part, headers=form_type)
    assert param_of(answer) == "file"
    assert "filename" in answer.json()["error"]["message"]
    assert "UploadFile" not in answer.text


USER = {"role": "user", "content": "hello"}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{no json"}}


def turn(role: str, **fields: Any) -> dict[str, Any]:
    return {"role": role, **fields}


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([turn("god", content="x")], "messages[0].role"),
        ([turn("function", name="f", content="x")], "messages[0].role"),
        ([{"content": "x"}], "messages[0].role"),
        (
            [turn("user", content=[{"type": "image_url", "image_url": {}}])],
            "messages[0].content[0]",
        ),
        ([turn("user", content=[{"text": "x"}])], "messages[0].content[0].type"),
        ([turn("user", content=[{"type": "text"}])], "messages[0].content[0]"),
        ([turn("user", content={"type": "text", "text": "x"})], "messages[0].content"),
        ([USER, turn("assistant", content="x")], "messages"),
        ([USER, turn("assistant", tool_calls=[{"id": "c"}]), USER], "messages[1].tool_calls[0]"),
        *(
            ([USER, turn("assistant", audio={"id": each}), USER], "messages[1].audio.id")
            for each in ("", "audio_", "audio_AAAA", "audio_\0", "audio_é😀", "x" * 99_999, None, 1)
        ),
    ],
)
async def test_a_conversation_that_cannot_be_one_is_a_400_that_names_the_place(
    raw: httpx.AsyncClient, messages: list[Any], param: str
) -> None:
    answer = await raw.post("/v1/chat/completions", json=CHAT | {"messages": messages})
    assert str(param_of(answer)).startswith(param)


@pytest.mark.parametrize(
    "messages",
    [
        [turn("user", content=[])],
        [turn("user")],
        [turn("user", content=None)],
        [turn("system", content="x")],
        [turn("tool", content="x")],  # the result of no call
        [USER, turn("assistant", tool_calls=[CALL]), turn("tool", tool_call_id="z", content="x")],
        [turn("user", content="x", audio={"id": "not an assistant's"})],
        [USER | {"name": "\0"}, turn("assistant"), USER],
    ],
)
async def test_an_odd_conversation_is_answered(raw: httpx.AsyncClient, messages: list[Any]) -> None:
    answer = await raw.post("/v1/chat/completions", json=CHAT | {"messages": messages})
    assert answer.status_code == 200


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.wav", wav_of(1))
    return file.getvalue()


def written(samples: np.ndarray, rate_hz: int, subtype: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format="WAV", subtype=subtype)
    return file.getvalue()


def mp3_without_its_end() -> bytes:
    return FORMATS["mp3"].file(bytes(48_000))[:-1000]


def tone(channels: int, rate_hz: int) -> bytes:
    one = 0.3 * np.sin(np.arange(4 * rate_hz) / rate_hz * 2 * np.pi * 440)
    return written(np.repeat(one[:, None], channels, axis=1), rate_hz, "PCM_16")


def no_numbers() -> bytes:
    return written(np.full(64_000, np.nan, np.float32), 16_000, "FLOAT")


@pytest.mark.parametrize(
    ("make", "heard", "reason"),
    [
        (bytes, None, "the file is empty"),
        (zipped, None, "no known format"),
        (no_numbers, None, "not numbers"),
        (lambda: b"RIFF" + bytes(100), None, "no known format"),
        (lambda: wav_of(4)[:44], None, ""),
        (mp3_without_its_end, "heard 0.9", "lasts"),
        (lambda: tone(8, 48_000), "heard 4.00 s", "8 channels"),
        (lambda: tone(1, 96_000), "heard 4.00 s", "are speech"),
    ],
    ids=["empty", "zip", "NaN", "half a header", "no samples", "cut mp3", "8 channels", "96 kHz"],
)
async def test_an_odd_file_is_read_or_refused_with_a_reason_wherever_it_is_sent(
    graph: Graph, tmp_path: Any, make: Callable[[], bytes], heard: str | None, reason: str
) -> None:
    data = make()
    app = create_http_app(graph.backend, graph.settings, voice_store=VoiceStore(str(tmp_path)))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    part = {"data": base64.b64encode(data).decode(), "format": "wav"}
    spoken = turn("user", content=[{"type": "input_audio", "input_audio": part}])
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        written_down = await client.post(
            "/v1/audio/transcriptions",
            files={"file": ("../../etc/passwd\0.wav", data)},
            data={"model": MODEL},
        )
        chat = await client.post("/v1/chat/completions", json=CHAT | {"messages": [spoken]})
        voice = await client.post(
            "/v1/audio/voices",
            files={"audio_sample": ("../../x", data)},
            data={"name": "anna2", "consent": "none"},
        )
    for answer, param in ((written_down, "file"), (chat, "messages[0].content[0].input_audio")):
        if heard is None:
            assert param_of(answer) == param
            assert reason in answer.json()["error"]["message"]
        else:
            assert answer.status_code == 200
            assert heard in answer.text
    assert param_of(voice) == "audio_sample"
    assert reason in voice.json()["error"]["message"]


ROUTES = ["/health", "/v1", "/v1/models", "/v1/models/x", "/v1/audio/voices", "/v1/audio/voices/x"]
ROUTES += ["/v1/audio/speech", "/v1/audio/transcriptions", "/v1/audio/translations", "/nowhere"]
ROUTES += ["/v1/chat/completions", "/docs", "/docs/page.js", "/docs/assets/x", "/openapi.json", "/"]


@pytest.mark.parametrize("path", ROUTES)
async def test_no_method_and_no_query_is_an_error_of_ours(
    raw: httpx.AsyncClient, path: str
) -> None:
    query = "?a[]=1&a[]=2&model=x&model=y&%00=%ff&[[" + "&a" * 999
    for method in ("HEAD", "OPTIONS", "TRACE", "CONNECT", "PUT", "PATCH", "DELETE", "BREW"):
        answer = await raw.request(method, path + query)
        assert answer.status_code < 500
        assert ("allow" in answer.headers) == (answer.status_code == 405)


async def test_a_flood_of_headers_changes_nothing(raw: httpx.AsyncClient) -> None:
    flood = [(b"x-%d" % number, b"\xff" * 50) for number in range(2000)]
    flood += [(b"content-type", b"application/json"), (b"content-type", b"text/plain")]
    answer = await raw.post("/v1/audio/speech", content=json.dumps(SPEECH), headers=flood)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        *(f"/docs/assets/{up}etc/passwd" for up in ("%2e%2e/" * 9, "..%2f" * 9, "/", "%00/")),
        *("/docs/assets/" + "a" * 5000, "/docs/assets/" + "a/" * 5000, "/docs/assets/%5c..%5cx"),
        *(f"/v1/audio/voices/{up}etc" for up in ("%2e%2e%2f" * 9, "%00", "%ed%a0%bd", "a" * 5000)),
        *(f"/v1/models/{up}etc" for up in ("%2e%2e%2f" * 9, "%00", "%ff%fe", "a" * 5000)),
    ],
    ids=range(15),
)
async def test_no_path_leaves_its_folder(raw: httpx.AsyncClient, path: str) -> None:
    answer = await raw.get(path)
    assert answer.status_code == 404
    assert len(answer.content) < 7000


@pytest.mark.parametrize("framing", ["Content-Length: 1000", "Transfer-Encoding: chunked"])
async def test_a_body_that_is_cut_in_the_middle_leaves_nothing_behind(
    listening: Any, caplog: pytest.LogCaptureFixture, framing: str
) -> None:
    graph = Graph()
    await graph.backend.start()
    async with listening(graph.app) as url:
        host, port = urlsplit(url).hostname, urlsplit(url).port
        for kind, path in (
            ("application/json", "/v1/chat/completions"),
            ("multipart/form-data; boundary=b", "/v1/audio/transcriptions"),
        ):
            reader, writer = await asyncio.open_connection(host, port)
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\n{framing}\r\n\r\n"
            writer.write(head.encode() + b'64\r\n--b\r\n{"model":')
            writer.write_eof()
            answer = await asyncio.wait_for(reader.read(), 20)
            writer.close()
            assert b" 500 " not in answer[:20]
        assert await eventually(graph.idle, within_s=10)
    assert not [record for record in caplog.records if record.exc_info]
