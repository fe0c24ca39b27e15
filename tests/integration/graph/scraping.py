"""A scrape of all nodes, as Prometheus makes it."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import httpx
import ray
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from deployments.metrics import Metric

PATIENCE_S = 30.0  # a replica hands over what it counted every ten seconds by default


async def scraped_until(enough: Callable[[list[Sample]], bool], application: str) -> list[Sample]:
    """All samples of an application's, once they are `enough` or time is over."""
    samples: list[Sample] = []
    with suppress(TimeoutError):  # then a test says what is missing
        async with asyncio.timeout(PATIENCE_S):
            while not enough(samples):
                await asyncio.sleep(0.5)
                every = await scraped()
                samples = [one for one in every if one.labels.get("application") == application]
    return samples


def samples_of(metric: Metric, samples: list[Sample], **labels: str) -> list[Sample]:
    """Those of a metric that have counted something; of a histogram, its counts."""
    name = metric.exported + ("_count" if metric.kind == "histogram" else "")
    return [
        one
        for one in samples
        if one.name == name
        and labels.items() <= one.labels.items()
        and (one.value or metric.kind == "gauge")
    ]


def total(metric: Metric, samples: list[Sample], **labels: str) -> float:
    """What was counted; of a histogram, how often."""
    return sum(one.value for one in samples_of(metric, samples, **labels))


async def scraped() -> list[Sample]:
    """All that the nodes export now."""
    found: list[Sample] = []
    async with httpx.AsyncClient(trust_env=False) as client:
        for node in ray.nodes():
            if node["Alive"]:
                address = f"{node['NodeManagerAddress']}:{node['MetricsExportPort']}"
                page = await client.get(f"http://{address}/metrics")
                for family in text_string_to_metric_families(page.text):
                    found += family.samples
    return found
