"""One request's id, wherever an operator looks for it."""

import asyncio
from pathlib import Path

import httpx
from ray.serve._private.logging_utils import get_serve_logs_dir

from tests.integration.graph.conftest import fake_graph, served, speech_body

REQUEST_ID = "a-callers-own-id-7c41"


async def test_the_id_that_a_caller_gives_is_in_the_logs_of_all_three_deployments(base_url):
    with served(fake_graph()) as application:
        async with httpx.AsyncClient(timeout=60) as plain:
            answer = await plain.post(
                f"{base_url}/v1/audio/speech",
                json=speech_body("hello"),
                headers={"X-Request-Id": REQUEST_ID},
            )
        assert answer.status_code == 200
        assert answer.headers.get_list("x-request-id") == [REQUEST_ID]
        for deployment in ("Ingress", "Token2Wav", "Thinker"):
            (log,) = Path(get_serve_logs_dir()).glob(f"replica_{application}_{deployment}_*.log")
            async with asyncio.timeout(10):
                while f"{REQUEST_ID} " not in log.read_text():
                    await asyncio.sleep(0.1)
