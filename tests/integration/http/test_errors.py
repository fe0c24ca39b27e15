"""Every error has its status and OpenAI's body, before the first chunk and after it."""

import base64
from typing import Any

import grpc
import httpx
import openai as client_errors
import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayTaskError
from ray.serve.exceptions import BackPressureError

from deployments import errors
from deployments.messages import SpeechDelta, ThinkerDelta
from serve_app.http.application import create_http_app
from serve_app.http.settings import HttpSettings
from tests.integration.http.conftest import Graph, ScriptedBackend, openai_client
from tests.integration.http.helpers import MODEL, sse_data, wav_of

SPEECH = {"model": MODEL, "input": "Hi", "response_format": "pcm"}
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}


def from_ray(error: Exception) -> Exception:
    """What a caller of a Ray actor gets when the actor raises `error`."""
    wrapped: Exception = RayTaskError("f", "traceback", error).as_instanceof_cause()
    return wrapped


def from_two_actors(error: Exception) -> Exception:
    """The same through Token2Wav, which calls the Thinker."""
    return from_ray(from_ray(error))


ROWS = [
    (errors.UnknownVoice("x"), 400, "voice_not_found"),
    (errors.AudioUnreadable("noise"), 400, "audio_unreadable"),
    (errors.AudioTooLong(41, 30), 400, "audio_too_long"),
    (errors.ReferenceAudioUnfit(0.2, 1, 30), 400, "voice_audio_unfit"),
    (errors.PromptTooLong(20_000, 16_384), 400, "context_length_exceeded"),
    (errors.SpeechTooLong(20_000, 16_384), 400, "context_length_exceeded"),
    (errors.AnswerCut(1024), 422, "answer_incomplete"),
    (errors.AnswerSilent(), 422, "no_audio"),
    (errors.UnsupportedRequest("not that"), 400, "unsupported"),
    (errors.RequestError("wrong"), 400, "invalid_value"),
    (errors.ServerFull(), 429, "server_full"),
    (BackPressureError(5, 5), 429, "server_full"),
    (errors.EngineFailed("it died"), 503, "engine_failed"),
    (ActorDiedError(), 503, "unavailable"),
    (ActorUnavailableError("gone", None), 503, "unavailable"),
    (grpc.RpcError("gone"), 503, "unavailable"),
    (KeyError("secret"), 500, "internal_error"),
    (errors.ConfigError("secret"), 500, "internal_error"),
]


@pytest.mark.parametrize("path", ["audio/speech", "chat/completions"])
@pytest.mark.parametrize(("error", "status", "code"), ROWS)
async def test_each_error_before_the_first_chunk_is_its_status(
    scripted_raw: Any, path: str, error: Exception, status: int, code: str | None
) -> None:
    backend = ScriptedBackend()
    body = SPEECH if path == "audio/speech" else CHAT
    async with scripted_raw(backend) as client:
        for raised in (error, from_ray(error), from_two_actors(error)):
            backend.script = (raised,)
            for stream in (False, True):
                got = await client.post(f"/v1/{path}", json=body | {"stream": stream})
                assert got.status_code == status
                assert got.json()["error"].keys() == {"message", "type", "param", "code"}
                assert got.json()["error"]["code"] == code
                assert "secret" not in got.text and "traceback" not in got.text
                assert ("retry-after" in got.headers) == (status in (429, 503))
    assert backend.open == 0


async def test_one_line_says_what_failed_and_a_traceback_only_what_nobody_foresaw(
    scripted_raw: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def logged(error: Exception) -> list[tuple[str, bool]]:
        caplog.clear()
        async with scripted_raw(ScriptedBackend(from_ray(error))) as client:
            await client.post("/v1/audio/speech", json=SPEECH)
        ours = [record for record in caplog.records if record.name.startswith("serve_app")]
        return [(record.getMessage(), bool(record.exc_info)) for record in ours]

    assert await logged(errors.SpeechTooLong(9, 8)) == []
    assert await logged(errors.ServerFull()) == []
    assert await logged(errors.NotReady()) == []
    assert await logged(errors.EngineFailed("it died")) == [
        ("answered 503: EngineFailed: it died", False)
    ]
    ((_, gone),) = await logged(ActorUnavailableError("gone", None))
    ((_, unforeseen),) = await logged(KeyError("secret"))
    assert (gone, unforeseen) == (False, True)


@pytest.mark.parametrize("path", ["audio/speech", "chat/completions"])
@pytest.mark.parametrize(("error", "status", "code"), ROWS)
async def test_every_error_carries_one_request_id_of_its_own(
    scripted_raw: Any, path: str, error: Exception, status: int, code: str | None
) -> None:
    body = SPEECH if path == "audio/speech" else CHAT
    async with scripted_raw(ScriptedBackend(error)) as client:
        answers = [await client.post(f"/v1/{path}", json=body) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [status, status]
    ids = [answer.headers.get_list("x-request-id") for answer in answers]
    assert [len(of_one) for of_one in ids] == [1, 1]
    assert ids[0] != ids[1] and all(of_one[0].startswith("req_") for of_one in ids)


async def test_the_configured_retry_after_holds_where_the_error_knows_no_better_one(
    scripted_raw: Any,
) -> None:
    async def retry_after(error: Exception) -> str:
        async with scripted_raw(ScriptedBackend(error), retry_after_s=7) as client:
            answer = await client.post("/v1/audio/speech", json=SPEECH)
        return str(answer.headers["retry-after"])

    assert await retry_after(from_ray(errors.ServerFull(retry_after_s=2.5))) == "3"
    assert await retry_after(from_two_actors(errors.ServerFull())) == "7"
    assert await retry_after(BackPressureError(5, 5, 429, 11.0)) == "11"
    assert await retry_after(errors.EngineFailed("dead")) == "7"


async def test_a_full_token2wav_is_a_rate_limit_error_for_the_client(graph: Graph) -> None:
    graph.synthesizer._max_streams = 0
    async with openai_client(graph.app) as openai:
        with pytest.raises(client_errors.RateLimitError) as refused:
            await openai.audio.speech.create(
                model=MODEL, voice="anna", input="Hi", response_format="wav"
            )
    assert refused.value.response.headers["retry-after"] == "1"


async def test_a_server_without_token2wav_refuses_speech_and_still_transcribes() -> None:
    graph = Graph()
    graph.backend._synthesizer = None
    await graph.backend.start()
    async with openai_client(graph.app) as openai:
        with pytest.raises(client_errors.BadRequestError, match="text only"):
            await openai.audio.speech.create(
                model=MODEL, voice="anna", input="Hi", response_format="wav"
            )
        recording = ("a.wav", wav_of(1))
        assert await openai.audio.transcriptions.create(model=MODEL, file=recording)


async def test_until_the_graph_is_ready_everything_is_503(scripted_raw: Any) -> None:
    backend = ScriptedBackend(ThinkerDelta(text="x", finish_reason="stop"))
    backend.is_ready = False
    async with scripted_raw(backend) as client:
        health = await client.get("/health")
        chat = await client.post("/v1/chat/completions", json=CHAT)
        assert (health.status_code, chat.status_code) == (503, 503)
        assert health.json()["error"]["code"] == chat.json()["error"]["code"] == "not_ready"
        assert "retry-after" in chat.headers
        backend.is_ready = True
        assert (await client.post("/v1/chat/completions", json=CHAT)).status_code == 200
        assert (await client.get("/health")).status_code == 200


async def test_text_answers_go_on_while_nobody_can_speak(scripted_raw: Any) -> None:
    backend = ScriptedBackend(ThinkerDelta(text="x", finish_reason="stop"))
    backend.can_speak = False
    aloud = CHAT | {"modalities": ["text", "audio"], "audio": {"voice": "default", "format": "wav"}}
    async with scripted_raw(backend) as client:
        assert (await client.post("/v1/chat/completions", json=CHAT)).status_code == 200
        assert (await client.post("/v1/chat/completions", json=aloud)).status_code == 503
        assert (await client.get("/health")).status_code == 503


async def test_an_unknown_model_is_404(graph: Graph) -> None:
    async with openai_client(graph.app) as openai:
        with pytest.raises(client_errors.NotFoundError, match="no model 'gpt-5'") as refused:
            await openai.chat.completions.create(model="gpt-5", messages=CHAT["messages"])  # type: ignore[arg-type]
    assert refused.value.code == "model_not_found"


async def test_http_s_own_refusals_have_the_same_body(raw: httpx.AsyncClient) -> None:
    answers = [
        (await raw.get("/v1/nothing"), 404, "not_found"),
        (await raw.get("/v1/audio/speech"), 405, "method_not_allowed"),
        (await raw.post("/v1/audio/speech", content=b"{", headers=JSON), 400, "invalid_value"),
        (await raw.post("/v1/audio/speech", json={"model": MODEL}), 400, "invalid_value"),
        (await raw.post("/v1/audio/speech", data={"a": "b"}), 415, "unsupported_media_type"),
        (await raw.post("/v1/audio/transcriptions", json={}), 415, "unsupported_media_type"),
    ]
    for answer, status, code in answers:
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
        assert answer.json()["error"]["type"] == "invalid_request_error"
        assert answer.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize("error", [None, errors.UnknownVoice("x"), KeyError("secret")])
async def test_an_id_of_the_clients_own_is_the_one_that_is_answered(
    scripted_raw: Any, error: Exception | None
) -> None:
    end = ThinkerDelta(text="x", finish_reason="stop")
    backend = ScriptedBackend(error or end)
    own = {"X-Request-Id": "trace/7:a.b-c_d"}
    async with scripted_raw(backend) as client:
        answer = await client.post("/v1/chat/completions", json=CHAT, headers=own)
        assert answer.headers.get_list("x-request-id") == ["trace/7:a.b-c_d"]
    assert backend.thinker_requests[0].request_id == "trace/7:a.b-c_d"


@pytest.mark.parametrize(
    "unfit", [b"caf\xe9", b"two words", b"x" * 129, b"", b"a\tb", "é".encode()]
)
async def test_an_id_that_cannot_stand_in_a_log_is_replaced(
    raw: httpx.AsyncClient, unfit: bytes
) -> None:
    answer = await raw.get("/v1/models", headers=[(b"X-Request-Id", unfit)])
    (answered,) = answer.headers.get_list("x-request-id")
    assert answer.status_code == 200 and answered.startswith("req_")


JSON = {"content-type": "application/json"}


async def test_a_missing_field_is_named(raw: httpx.AsyncClient) -> None:
    answer = await raw.post("/v1/audio/speech", json={"model": MODEL})
    assert answer.json()["error"]["param"] == "input"
    form = await raw.post("/v1/audio/transcriptions", data={"model": MODEL}, files={"x": b""})
    assert form.json()["error"]["param"] == "file"


async def test_a_body_of_unannounced_length_is_cut_off_at_the_limit(scripted_raw: Any) -> None:
    sent = 0

    async def endless() -> Any:
        nonlocal sent
        while sent < 100_000:
            sent += 1000
            yield b"x" * 1000

    async with scripted_raw(ScriptedBackend(), max_upload_bytes=5000) as client:
        answer = await client.post("/v1/audio/speech", content=endless(), headers=JSON)
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "request_too_large"
    assert sent < 100_000


async def test_a_wrong_key_is_401_and_health_needs_none() -> None:
    graph = Graph(api_keys=("right",))
    await graph.backend.start()
    async with openai_client(graph.app, key="wrong") as openai:
        with pytest.raises(client_errors.AuthenticationError) as refused:
            await openai.models.list()
        assert refused.value.code == "invalid_api_key"
    async with openai_client(graph.app, key="right") as openai:
        assert (await openai.models.list()).data
    transport = httpx.ASGITransport(graph.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        assert (await client.get("/v1/models")).status_code == 401
        assert (await client.get("/health")).status_code == 200


async def test_a_key_may_hold_any_character() -> None:
    graph = Graph(api_keys=("schlüssel-🔑",))
    transport = httpx.ASGITransport(graph.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        for key, status in (("schlüssel-🔑", 200), ("schlüssel", 401), ("\xff", 401)):
            bearer = [(b"authorization", b"Bearer " + key.encode())]
            assert (await client.get("/v1/models", headers=bearer)).status_code == status


@pytest.mark.parametrize("length", [b"\xb2", b"-1", b"1e9", b"0x10", b"9" * 5000, b"\xff"])
async def test_a_length_that_is_no_number_or_too_large_is_no_error_of_ours(
    raw: httpx.AsyncClient, length: bytes
) -> None:
    headers = [(b"content-length", length), (b"content-type", b"application/json")]
    answer = await raw.post("/v1/audio/speech", content=b"{}", headers=headers)
    assert answer.status_code in (400, 413)


@pytest.mark.parametrize(
    "failure",
    [
        from_ray(errors.EngineFailed("it died")),
        SpeechDelta(finish_reason="abort"),
        None,  # the graph's generator just ends, without a finish_reason
    ],
)
async def test_after_the_first_chunk_sse_ends_with_an_error_event(
    scripted_raw: Any, failure: object
) -> None:
    script = [SpeechDelta(pcm=b"\1\0")] + ([] if failure is None else [failure])  # type: ignore[list-item]
    backend = ScriptedBackend(*script)
    async with scripted_raw(backend) as client:
        answer = await client.post("/v1/audio/speech", json=SPEECH | {"stream_format": "sse"})
    assert answer.status_code == 200
    first, last = sse_data(answer.text)
    assert base64.b64decode(first["audio"]) == b"\1\0"
    assert last["type"] == "error" and last["error"]["code"] == "engine_failed"
    assert "event: error" in answer.text
    assert backend.open == 0


async def test_a_chat_stream_that_breaks_raises_in_the_client() -> None:
    backend = ScriptedBackend(ThinkerDelta(text="so"), from_ray(KeyError("secret")))
    app = create_http_app(backend, HttpSettings(models=(MODEL,)))
    async with openai_client(app) as openai:
        stream = await openai.chat.completions.create(**CHAT, stream=True)  # type: ignore[call-overload]
        texts = []
        with pytest.raises(client_errors.APIError, match="the server failed to answer"):
            async for chunk in stream:
                texts.append(chunk.choices[0].delta.content or "")
    assert "".join(texts) == "so"


async def test_a_transcript_stream_that_breaks_raises_in_the_client() -> None:
    backend = ScriptedBackend(ThinkerDelta(text="so"), errors.EngineFailed("it died"))
    app = create_http_app(backend, HttpSettings(models=(MODEL,)))
    async with openai_client(app) as openai:
        stream = await openai.audio.transcriptions.create(
            model=MODEL, file=("a.wav", wav_of(1)), stream=True
        )
        with pytest.raises(client_errors.APIError, match="it died"):
            async for _ in stream:
                pass


async def test_an_answer_cut_short_is_no_whole_answer(scripted_raw: Any) -> None:
    async with scripted_raw(ScriptedBackend(ThinkerDelta(text="half a"))) as client:
        answer = await client.post("/v1/chat/completions", json=CHAT)
    assert answer.status_code == 503
    assert "cut short" in answer.json()["error"]["message"]


@pytest.mark.parametrize("stream_format", ["audio", "sse"])
async def test_speech_without_any_audio_is_an_error_not_an_empty_200(
    scripted_raw: Any, stream_format: str, caplog: pytest.LogCaptureFixture
) -> None:
    backend = ScriptedBackend(SpeechDelta(text="silent"), SpeechDelta(finish_reason="stop"))
    async with scripted_raw(backend) as client:
        body = SPEECH | {"stream_format": stream_format}
        answer = await client.post("/v1/audio/speech", json=body)
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "no_audio"
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
