"""A stream that lost a replica is one trace at a collector, with both attempts."""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.integration.graph.conftest import fake_graph, on_node, served, speech_body
from tests.integration.graph.test_survival import busy_process
from tests.otlp_collector import Collector, ReceivedSpan, collecting

SECONDS_PER_DELTA = 0.4  # an answer takes ten seconds
TEXT = "a sentence that is spoken for some seconds " * 3
ARRIVES_WITHIN_S = 30.0
TRACE, PARENT = "c" * 32, "d" * 16
ON_THE_WAY = {"POST /v1/audio/speech", "answer aloud", "ask Token2Wav", "Token2Wav", "ask Thinker"}


def traced(collector: Collector, **options: Any) -> dict[str, Any]:
    """`deployment_config` whose replicas send their spans to `collector`, twice a second."""
    config = on_node(**options)
    environment = {
        "RAY_SERVE_TRACING_EXPORTER_IMPORT_PATH": "deployments.trace_export:span_processors",
        "RAY_SERVE_TRACING_SAMPLING_RATIO": "1.0",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "500",  # ms
    }
    config["ray_actor_options"]["runtime_env"] = {"env_vars": environment}
    return config


@pytest.fixture(scope="module")
def collector(base_url: str) -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture(scope="module")
def application(collector: Collector) -> Iterator[str]:
    config = fake_graph(
        thinker={
            "deployment_config": traced(collector, num_replicas=2),
            "engine_kwargs": {"seconds_per_delta": SECONDS_PER_DELTA},
        },
        token2wav={"deployment_config": traced(collector, num_replicas=2)},
        ingress=traced(collector),
    )
    with served(config) as name:
        yield name


async def spans_once(
    enough: Callable[[list[ReceivedSpan]], bool], collector: Collector, request_id: str
) -> list[ReceivedSpan]:
    """Those of a request, once they are `enough`."""
    async with asyncio.timeout(ARRIVES_WITHIN_S):
        while not enough(collector.of_request(request_id)):
            await asyncio.sleep(0.1)
    return collector.of_request(request_id)


async def answered(base_url: str, request_id: str, lost: str, application: str) -> None:
    """One answer, whose replica of that stage is killed meanwhile."""
    headers = {"X-Request-Id": request_id, "traceparent": f"00-{TRACE}-{PARENT}-01"}
    async with httpx.AsyncClient(base_url=base_url, timeout=60, trust_env=False) as client:
        speech = client.stream("POST", "/v1/audio/speech", json=speech_body(TEXT), headers=headers)
        async with speech as answer:
            pieces = answer.aiter_bytes()
            await anext(pieces)
            os.kill(await busy_process(lost, application), signal.SIGKILL)
            async for _ in pieces:
                pass


@pytest.mark.timeout(400)
@pytest.mark.parametrize("lost", ["Thinker", "Token2Wav"])
async def test_both_attempts_of_a_resumed_stream_are_in_its_trace(
    base_url: str, application: str, collector: Collector, lost: str
) -> None:
    request_id = f"req_{lost}"
    await answered(base_url, request_id, lost, application)
    spans = await spans_once(
        lambda spans: {one.name for one in spans} >= ON_THE_WAY | {"Thinker"},
        collector,
        request_id,
    )
    assert {one.trace_id for one in spans} == {TRACE}
    attempts = [one for one in spans if one.name == f"ask {lost}"]
    assert [one.attributes["step_audio2.attempt"] for one in attempts[:2]] == [1, 2]
    first, second = attempts[:2]
    assert first.failed and not second.failed
    assert second.links == (first.span_id,)
    assert first.attributes["step_audio2.replica"] != second.attributes["step_audio2.replica"]
    (answer,) = [one for one in spans if one.name == lost and one.parent_id == second.span_id]
    assert answer.attributes["step_audio2.goes_on"] is True
