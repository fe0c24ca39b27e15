"""Who may open a session, and how it opens."""

import asyncio
from typing import Any

import pytest

from serve_app.http.application import create_http_app
from serve_app.http.realtime.session_ends import TRY_AGAIN
from serve_app.http.settings import HttpSettings
from tests.integration.http.conftest import ScriptedBackend, openai_client
from tests.unit.serve_app.http.realtime.client import Closed, Denied, connected
from tests.unit.serve_app.http.realtime.conftest import Graph, started

KEYS = {"anna": "annas-key", "ben": "bens-key"}
ANNA = {"Authorization": "Bearer annas-key"}


async def denied(app: Any, **how: Any) -> Denied:
    with pytest.raises(Denied) as error:
        async with connected(app, **how):
            pass
    return error.value


async def test_a_session_is_told_when_it_opens(graph: Graph) -> None:
    async with connected(graph.app, model="gpt-realtime") as client:
        session = (await client.expect("session.created"))["session"]
    assert session["type"] == "realtime"
    assert session["object"] == "realtime.session"
    assert session["model"] == "gpt-realtime"
    assert session["audio"]["output"]["voice"] == "default"
    assert session["audio"]["input"]["turn_detection"]["type"] == "server_vad"
    assert session["output_modalities"] == ["audio"]


async def test_a_session_without_a_right_key_is_refused_before_it_opens() -> None:
    graph = await started(api_keys=KEYS)
    for how in ({}, {"headers": {"Authorization": "Bearer wrong"}}):
        refusal = await denied(graph.app, **how)
        assert (refusal.status, refusal.body["error"]["code"]) == (401, "invalid_api_key")
    async with connected(graph.app, ANNA) as client:
        await client.expect("session.created")


async def test_a_browser_brings_its_key_as_a_subprotocol_and_realtime_is_answered() -> None:
    graph = await started(api_keys=KEYS)
    offered = ("realtime", "openai-insecure-api-key.bens-key", "openai-agents-sdk.1")
    async with connected(graph.app, subprotocols=offered) as client:
        assert client.subprotocol == "realtime"
    async with connected(graph.app, ANNA) as client:
        assert client.subprotocol is None
    wrong = ("realtime", "openai-insecure-api-key.nobodys")
    assert (await denied(graph.app, subprotocols=wrong)).status == 401


async def test_a_client_secret_opens_sessions_that_begin_as_it_says() -> None:
    graph = await started(api_keys=KEYS)
    async with openai_client(graph.app, key="annas-key") as openai:
        secret = await openai.realtime.client_secrets.create(
            expires_after={"anchor": "created_at", "seconds": 60},
            session={"type": "realtime", "instructions": "Be brief.", "model": "gpt-realtime"},
        )
    assert secret.value.startswith("ek_")
    assert secret.session.instructions == "Be brief."  # type: ignore[union-attr]
    key = f"openai-insecure-api-key.{secret.value}"
    async with connected(graph.app, subprotocols=("realtime", key)) as client:
        session = (await client.expect("session.created"))["session"]
    assert session["instructions"] == "Be brief."
    async with openai_client(graph.app, key=secret.value) as openai:
        with pytest.raises(Exception, match="API key"):
            await openai.models.list()


async def test_a_client_secret_of_another_server_opens_nothing() -> None:
    graph, other = await started(api_keys=KEYS), await started(api_keys=KEYS)
    async with openai_client(other.app, key="annas-key") as openai:
        secret = await openai.realtime.client_secrets.create()
    refusal = await denied(graph.app, headers={"Authorization": f"Bearer {secret.value}"})
    assert refusal.status == 401


async def test_a_session_that_a_secret_cannot_begin_is_refused_when_it_is_made(
    graph: Graph,
) -> None:
    async with openai_client(graph.app) as openai:
        with pytest.raises(Exception, match="output_modalities") as error:
            await openai.realtime.client_secrets.create(
                session={"type": "realtime", "output_modalities": ["smell"]}  # type: ignore
            )
    assert error.value.status_code == 400  # type: ignore[attr-defined]


async def test_a_full_server_refuses_one_more_session_before_it_opens() -> None:
    graph = await started(realtime={"max_sessions": 1})
    async with connected(graph.app) as client:
        await client.expect("session.created")
        assert (await denied(graph.app)).status == 429
    async with connected(graph.app) as client:
        await client.expect("session.created")


async def test_a_full_server_that_can_send_no_status_says_try_again(graph: Graph) -> None:
    full = await started(realtime={"max_sessions": 0})
    async with connected(full.app, extensions=()) as client:
        error = (await client.expect("error"))["error"]
        assert error["code"] == "server_full"
        with pytest.raises(Closed) as closed:
            await client.receive()
    assert closed.value.code == TRY_AGAIN


async def test_a_key_has_so_many_sessions_open_at_once() -> None:
    graph = await started(api_keys=KEYS, key_limits={"open_sessions": 1})
    async with connected(graph.app, ANNA) as client:
        await client.expect("session.created")
        refusal = await denied(graph.app, headers=ANNA)
        assert refusal.body["error"]["code"] == "rate_limit_exceeded"
        async with connected(graph.app, {"Authorization": "Bearer bens-key"}) as other:
            await other.expect("session.created")


async def test_an_answer_counts_for_its_key_while_it_is_made_and_an_open_session_not() -> None:
    graph = await started(0.01, api_keys=KEYS, key_limits={"concurrent_streams": 1})
    async with connected(graph.app, ANNA) as one, connected(graph.app, ANNA) as two:
        for client in (one, two):
            await client.say("a text that takes a while to be spoken")
        await one.send("response.create")
        await one.until("response.output_audio.delta")
        done = (await two.answer())[-1]["response"]
        assert done["status_details"]["error"]["code"] == "rate_limit_exceeded"
        await one.until("response.done")
        assert (await two.answer())[-1]["response"]["status"] == "completed"


async def test_a_key_is_told_what_is_left_of_its_requests() -> None:
    graph = await started(api_keys=KEYS, key_limits={"requests_per_minute": 10})
    async with connected(graph.app, ANNA) as client:
        await client.say("hello")
        events = await client.answer()
    (told,) = [e for e in events if e["type"] == "rate_limits.updated"]
    (limit,) = told["rate_limits"]
    assert (limit["name"], limit["limit"], limit["remaining"]) == ("requests", 10, 8)


async def test_a_model_that_is_not_served_opens_nothing(graph: Graph) -> None:
    refusal = await denied(graph.app, model="whale-song-1")
    assert (refusal.status, refusal.body["error"]["code"]) == (404, "model_not_found")


async def test_a_server_that_is_not_ready_opens_what_it_can_serve() -> None:
    backend = ScriptedBackend()
    backend.can_speak = False
    app = create_http_app(backend, HttpSettings())  # type: ignore[arg-type]

    async def hangs() -> tuple[str, ...]:
        await asyncio.Event().wait()
        return ()

    backend.voices = hangs  # type: ignore[method-assign]
    assert (await denied(app)).status == 503
    async with connected(app, intent="transcription") as client:
        await client.expect("session.created")
    backend.is_ready = False
    app = create_http_app(backend, HttpSettings())  # type: ignore[arg-type]
    assert (await denied(app, intent="transcription")).status == 503
