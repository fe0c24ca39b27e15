"""A scrape of a running graph, as Prometheus makes it."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from prometheus_client.samples import Sample

from deployments import metrics
from deployments.metrics import METRICS
from deployments.thinker.fake import audio_tokens_of
from tests.integration.graph.conftest import (
    fake_graph,
    on_node,
    replica_record,
    requests_in_thinker,
    served,
    speech_body,
)
from tests.integration.graph.scraping import samples_of, scraped_until, total

# Of Token2Wav's real engine: a fake one takes no steps and prepares no voice.
OF_REAL_STEPS = {
    metrics.STEP_ROWS,
    metrics.STEP_TIME,
    metrics.CHUNKS,
    metrics.LATE_CHUNKS,
    metrics.VOICES_CACHED,
    metrics.VOICE_PREPARATION,
}
CAUSED = [metric for metric in METRICS if metric not in OF_REAL_STEPS]
DELTA_S = 0.15  # between two deltas of the Thinker, each of which plays 0.12 s


def quick_to_report(**options: Any) -> dict[str, Any]:
    """`deployment_config` whose replicas hand over their metrics each second, not each tenth."""
    config = on_node(**options)
    environment = {"RAY_metrics_report_interval_ms": "1000"}
    config["ray_actor_options"]["runtime_env"] = {"env_vars": environment}
    return config


async def speak(client: httpx.AsyncClient) -> httpx.Response:
    return await client.post("/v1/audio/speech", json=speech_body("hello"))


async def until_asked(application: str) -> None:
    """Wait until an answer is being made."""
    while not await requests_in_thinker(application):
        await asyncio.sleep(0.05)


def enough(samples: list[Sample]) -> bool:
    """Whether all that happens below has been exported."""
    return total(metrics.ANSWERS, samples) >= 3 and all(
        samples_of(metric, samples) for metric in CAUSED
    )


@pytest_asyncio.fixture(scope="module")
async def scraped(base_url: str) -> AsyncIterator[list[Sample]]:
    """What is exported after an answer with gaps, one that is refused and one that is resumed."""
    config = fake_graph(
        thinker={
            "engine_kwargs": {"seconds_per_delta": DELTA_S},
            "deployment_config": quick_to_report(),
        },
        token2wav={
            "max_streams": 1,
            "chunks": {"ramp": [2], "steady": 3},
            "deployment_config": quick_to_report(),
        },
        ingress=quick_to_report(),
    )
    with served(config) as application:
        async with httpx.AsyncClient(base_url=base_url, timeout=60, trust_env=False) as client:
            statuses = [(await speak(client)).status_code]
            both = await asyncio.gather(speak(client), speak(client))
            statuses += sorted(answer.status_code for answer in both)
            assert statuses == [200, 200, 429]
            thinker = replica_record("Thinker", application)["Pid"]
            answer = asyncio.create_task(speak(client))
            await until_asked(application)
            os.kill(thinker, signal.SIGKILL)
            yield await scraped_until(enough, application)
            answer.cancel()


@pytest.mark.parametrize("metric", CAUSED, ids=lambda metric: metric.name)
async def test_a_scrape_holds_each_metric_with_its_tags(scraped: list[Sample], metric) -> None:
    found = samples_of(metric, scraped)
    assert found
    for sample in found:
        assert {"deployment", "replica", "application", *metric.tags} <= sample.labels.keys()


async def test_a_histogram_has_the_buckets_of_the_table(scraped: list[Sample]) -> None:
    name = f"{metrics.FIRST_SOUND.exported}_bucket"
    limits = [float(one.labels["le"]) for one in scraped if one.name == name]
    assert limits == [*metrics.FIRST_SOUND.buckets, float("inf")]


async def test_what_is_exported_is_what_happened(scraped: list[Sample]) -> None:
    assert total(metrics.ANSWERS, scraped, reply="speech", end="done") >= 2  # one may go on
    assert total(metrics.ANSWERS, scraped, end="refused") == 1
    assert total(metrics.REFUSED, scraped, reason="memory") == 1
    assert total(metrics.RESUMED, scraped, stage="Thinker") == 1
    assert total(metrics.UNDERRUNS, scraped) >= 2  # one an answer, or more
    assert total(metrics.TOKENS, scraped, kind="audio") >= 2 * len(audio_tokens_of("hello"))
