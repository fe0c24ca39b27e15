"""Several replicas of the ingress: each honours the `audio.id`s of all of them, dead ones too."""

import asyncio
import time
from pathlib import Path
from typing import Any

import openai
import pytest
import ray
from ray.serve._private.logging_utils import get_serve_logs_dir

from tests.integration.graph.conftest import MODEL, fake_graph, replica_record, served

REPLICAS = 3
HONOURED_WITHIN_S = 60.0
ASK: list[Any] = [{"role": "user", "content": "hello"}]
SPOKEN: dict[str, Any] = {
    "modalities": ["text", "audio"],
    "audio": {"voice": "default", "format": "pcm16"},
}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory):
    secret = tmp_path_factory.mktemp("secret") / "keys"
    secret.write_text("a-key-that-all-replicas-have\n")
    http = {
        "spoken_turn_keys_file": str(secret),
        "spoken_turns_folder": str(tmp_path_factory.mktemp("turns")),
    }
    # All on the proxy's node: it calls replicas elsewhere only where its own node has none.
    return fake_graph(http=http, ingress={"node": "first_node", "num_replicas": REPLICAS})


@pytest.fixture
def client(base_url: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{base_url}/v1", api_key="none", max_retries=0)


async def whole(client: openai.AsyncOpenAI) -> str:
    """The id of a spoken answer that came as a whole."""
    answer = await client.chat.completions.create(model=MODEL, messages=ASK, **SPOKEN)
    audio = answer.choices[0].message.audio
    assert audio
    return audio.id


async def streamed(client: openai.AsyncOpenAI) -> str:
    """The same of one that was streamed."""
    stream = await client.chat.completions.create(model=MODEL, messages=ASK, stream=True, **SPOKEN)
    audio = [chunk.choices[0].delta.audio async for chunk in stream]  # type: ignore[attr-defined]
    return next(piece.id for piece in audio if piece and piece.id)


async def go_on(client: openai.AsyncOpenAI, turn_id: str, request_id: str = "") -> None:
    """Ask the next question after that answer."""
    spoken: Any = {"role": "assistant", "audio": {"id": turn_id}}
    headers = {"x-request-id": request_id} if request_id else {}
    await client.chat.completions.create(
        model=MODEL, messages=[*ASK, spoken, *ASK], extra_headers=headers
    )


@pytest.mark.timeout(400)
async def test_an_audio_id_is_honoured_by_every_replica_after_a_death_and_after_a_restart(
    config: Any, client: openai.AsyncOpenAI
) -> None:
    with served(config) as application:
        turns = [await whole(client), await streamed(client)]
        requests = [f"next-{turn}-{n}" for n in range(20) for turn in (0, 1)]
        for request in requests:
            await go_on(client, turns[int(request.split("-")[1])], request)
        logs = [*Path(get_serve_logs_dir()).glob(f"replica_{application}_Ingress_*.log")]
        assert len(logs) == REPLICAS
        for turn in (0, 1):
            await until_logged(logs, f"next-{turn}-")

        ray.kill(ray.get_actor(replica_record("Ingress")["Name"], namespace="serve"))
        await until_honoured(client, turns)
    with served(config):
        await until_honoured(client, turns)


async def until_logged(logs: list[Path], part: str) -> None:
    """Until `part` stands in every one of `logs`: each replica has answered such a request."""
    async with asyncio.timeout(10):
        while not all(part in log.read_text() for log in logs):
            await asyncio.sleep(0.1)


async def until_honoured(client: openai.AsyncOpenAI, turns: list[str]) -> None:
    """Until 20 requests in a row are; a replica that just died may fail one, never refuse it."""
    deadline = time.monotonic() + HONOURED_WITHIN_S
    in_a_row = 0
    while in_a_row < 20:
        try:
            await go_on(client, turns[in_a_row % 2])
            in_a_row += 1
        except (openai.InternalServerError, openai.APIConnectionError):
            in_a_row = 0
            assert time.monotonic() < deadline
            await asyncio.sleep(0.2)
