"""Several replicas of the ingress: each knows the voices and `audio.id`s of all, dead ones too."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import openai
import pytest
import ray
from ray.serve._private.logging_utils import get_serve_logs_dir

from tests.integration.graph.conftest import MODEL, fake_graph, replica_record, served

REPLICAS = 3
VOICE = Path("deployments/token2wav/assets/default_voice.wav")
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
    voices = str(tmp_path_factory.mktemp("voices"))

    def on(node: str) -> Any:
        """All on one node: the proxy calls replicas elsewhere only where its own node has none."""
        ingress = {"node": node, "num_replicas": REPLICAS}
        return fake_graph(http=http, ingress=ingress).model_copy(update={"voice_store": voices})

    return on


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


async def upload(client: openai.AsyncOpenAI) -> str:
    """The id of a new voice."""
    sample = ("mine.wav", VOICE.read_bytes())
    voice = await client.audio.voices.create(name="mine", audio_sample=sample, consent="cons_1")
    return voice.id


async def speak(client: openai.AsyncOpenAI, voice: str, request_id: str = "") -> None:
    """Speak in that voice."""
    headers = {"x-request-id": request_id} if request_id else {}
    await client.audio.speech.create(
        model=MODEL, voice={"id": voice}, input="hello", extra_headers=headers
    )


async def go_on(client: openai.AsyncOpenAI, turn_id: str, request_id: str = "") -> None:
    """Ask the next question after that answer."""
    spoken: Any = {"role": "assistant", "audio": {"id": turn_id}}
    headers = {"x-request-id": request_id} if request_id else {}
    await client.chat.completions.create(
        model=MODEL, messages=[*ASK, spoken, *ASK], extra_headers=headers
    )


@pytest.mark.timeout(400)
async def test_every_replica_knows_voices_and_turns_after_a_death_and_a_restart_elsewhere(
    config: Any, client: openai.AsyncOpenAI
) -> None:
    with served(config("first_node")) as application:
        asks = [
            partial(go_on, client, await whole(client)),
            partial(go_on, client, await streamed(client)),
            partial(speak, client, await upload(client)),
        ]
        for number in range(20):
            for place in range(len(asks)):  # in turn: the proxy takes its replicas in turn, too
                kind = (place + number) % len(asks)
                await asks[kind](f"next-{kind}-{number}")
        logs = [*Path(get_serve_logs_dir()).glob(f"replica_{application}_Ingress_*.log")]
        assert len(logs) == REPLICAS
        for kind in range(len(asks)):
            await until_logged(logs, f"next-{kind}-")

        ray.kill(ray.get_actor(replica_record("Ingress")["Name"], namespace="serve"))
        await until_honoured(asks)
    with served(config("second_node")):
        await until_honoured(asks)


async def until_logged(logs: list[Path], part: str) -> None:
    """Until `part` stands in every one of `logs`: each replica has answered such a request."""
    async with asyncio.timeout(10):
        while not all(part in log.read_text() for log in logs):
            await asyncio.sleep(0.1)


async def until_honoured(asks: Sequence[Callable[[], Awaitable[None]]]) -> None:
    """Until 20 requests in a row are; a replica that just died may fail one, never refuse it."""
    deadline = time.monotonic() + HONOURED_WITHIN_S
    in_a_row = 0
    while in_a_row < 20:
        try:
            await asks[in_a_row % len(asks)]()
            in_a_row += 1
        except (openai.InternalServerError, openai.APIConnectionError):
            in_a_row = 0
            assert time.monotonic() < deadline
            await asyncio.sleep(0.2)
