"""Where requests go through Ray: conversations, refusals, and replicas that stop."""

import asyncio
import time
from collections import Counter
from contextlib import aclosing
from pathlib import Path

import httpx
import numpy as np
import pytest
import pytest_asyncio
from ray import serve
from ray.serve._private.logging_utils import get_serve_logs_dir
from ray.serve.context import _get_global_client
from ray.serve.schema import ServeDeploySchema

from deployments.errors import ServerFull
from deployments.liveness.watch import Watch
from deployments.messages import Message, Role, SpeechRequest, TextPart, ThinkerRequest
from deployments.resume import Recovery, Tries
from deployments.stage_calls import spoken, written
from deployments.thinker.fake import audio_tokens_of
from tests.integration.graph.conftest import MODEL, fake_graph, on_node, speech_body
from tests.nano.with_pauses import with_pauses

APPLICATION = "step-audio2-routing"
PLACES = 4  # of each Token2Wav
WITHIN_S = 60.0
TEXT = "a sentence that is spoken for a while " * 4
GOES_ON = "goes on with another replica"


def deploy(replicas: int) -> None:
    """Have that many replicas of each stage; nothing else restarts."""
    stage = on_node(num_replicas=2)
    graph = fake_graph(
        thinker={"deployment_config": stage, "engine_kwargs": {"seconds_per_delta": 0.15}},
        token2wav={"deployment_config": stage, "max_streams": PLACES},
    )
    application = {
        "name": APPLICATION,
        "route_prefix": "/",
        "import_path": "serve_app.app:app",
        "args": graph.model_dump(mode="json"),
        "deployments": [
            {"name": name, "num_replicas": replicas} for name in ("Thinker", "Token2Wav")
        ],
    }
    config = {"proxy_location": "HeadOnly", "applications": [application]}
    _get_global_client().deploy_apps(ServeDeploySchema.model_validate(config))
    ends_at = time.monotonic() + 120
    while not runs(replicas):
        assert time.monotonic() < ends_at, serve.status()
        time.sleep(0.2)


def runs(replicas: int) -> bool:
    application = serve.status().applications.get(APPLICATION)
    if application is None or application.status != "RUNNING":
        return False
    stages = [application.deployments[name] for name in ("Thinker", "Token2Wav")]
    return all(stage.replica_states == {"RUNNING": replicas} for stage in stages)


@pytest_asyncio.fixture(scope="module")
async def application(base_url: str):
    await asyncio.to_thread(deploy, 2)
    yield base_url
    await asyncio.to_thread(serve.delete, APPLICATION)


def handle(deployment: str):
    return serve.get_deployment_handle(deployment, APPLICATION).options(
        stream=True, _by_reference=False
    )


def question(text: str, **fields: object) -> ThinkerRequest:
    messages = (Message(Role.HUMAN, (TextPart(text),)),)
    return ThinkerRequest(text, messages, **fields)  # type: ignore[arg-type]


async def answered_by(request: ThinkerRequest) -> str:
    """The Thinker that answers."""
    call = handle("Thinker").generate.remote
    async with aclosing(written(request, call, Recovery(), Tries(3), Watch(2.0))) as deltas:
        return (await anext(deltas)).replica


async def test_the_turns_of_a_conversation_go_to_one_thinker(application):
    homes = set()
    for number in range(64):  # their replicas are drawn: nearly always a few show both
        asked = question("hi", conversation=f"{number}")
        replicas = {await answered_by(asked) for _ in range(2)}
        assert len(replicas) == 1
        homes |= replicas
        if len(homes) == 2:
            return
    pytest.fail("one Thinker gets all conversations")


async def test_a_lost_thinker_is_avoided(application):
    first = await answered_by(question("hi", conversation="x"))
    asked = question("hi", conversation="x", avoid=(first,))
    others = {await answered_by(asked) for _ in range(5)}
    assert len(others) == 1 and others != {first}


async def test_the_pieces_of_a_long_recording_are_all_written_down(application):
    """They are asked for at once, for one request."""
    async with httpx.AsyncClient(base_url=application, timeout=WITHIN_S) as client:
        answer = await client.post(
            "/v1/audio/transcriptions",
            data={"model": MODEL, "response_format": "verbose_json"},
            files={"file": ("long.flac", with_pauses(seconds=40.0).file("FLAC"))},
        )
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["segments"]) > 2


async def test_a_full_token2wav_is_no_refusal_while_another_has_room(application):
    call = handle("Token2Wav").speak.remote
    request = SpeechRequest(question("to be spoken " * 10, reply="speech"))
    held, replicas = [], Counter()
    try:
        avoid: tuple[str, ...] = ()
        for _ in range(2 * PLACES):
            deltas = spoken(
                SpeechRequest(request.thinker, avoid=avoid), call, Recovery(), Watch(2.0)
            )
            held.append(deltas)
            replica = (await anext(deltas)).replica
            replicas[replica] += 1
            avoid = avoid or tuple({replica})  # all others ask for the other one first
        assert list(replicas.values()) == [PLACES, PLACES]
        with pytest.raises(ServerFull):
            await anext(spoken(request, call, Recovery(), Watch(2.0)))
    finally:
        for deltas in held:
            await deltas.aclose()


@pytest.mark.timeout(200)
async def test_replicas_that_stop_break_off_no_stream(application):
    """They have half a second; their streams take longer, and go on with the ones that stay."""
    texts = [f"{TEXT}{number}" for number in range(PLACES)]
    async with httpx.AsyncClient(base_url=application, timeout=WITHIN_S) as client:

        async def speak(text: str) -> bytes:
            answer = await client.post("/v1/audio/speech", json=speech_body(text))
            assert answer.status_code == 200, answer.text
            return answer.content

        speaking = [asyncio.ensure_future(speak(text)) for text in texts]
        await asyncio.sleep(1.0)
        await asyncio.to_thread(deploy, 1)
        for text, sound in zip(texts, await asyncio.gather(*speaking), strict=True):
            expected = np.repeat(audio_tokens_of(text), 960)
            assert np.array_equal(np.frombuffer(sound, "<i2"), expected)
    logs = Path(get_serve_logs_dir()).glob(f"replica_{APPLICATION}_*.log")
    assert any(GOES_ON in log.read_text() for log in logs)
