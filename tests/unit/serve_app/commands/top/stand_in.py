"""A cluster that answers as Ray 2.60 does, without a socket."""

import time
from typing import Any

import httpx

from deployments import metrics
from deployments.metrics import Metric

DASHBOARD = "http://127.0.0.1:8265"
NODES = ("10.0.0.1:8080", "10.0.0.2:8080")
LIMITS = (0.1, 0.2, 0.5, 1.0)


def replica(replica_id: str, state: str = "RUNNING") -> dict[str, Any]:
    return {"replica_id": replica_id, "state": state, "node_ip": "10.0.0.1", "pid": 7}


def deployment(name: str, *replicas: dict[str, Any], wanted: int = 1) -> dict[str, Any]:
    return {
        "name": name,
        "status": "HEALTHY",
        "target_num_replicas": wanted,
        "replicas": list(replicas),
    }


def application(name: str = "default") -> dict[str, Any]:
    deployments = [
        deployment("Thinker", replica("t1")),
        deployment("Token2Wav", replica("w1"), replica("w2", "STARTING"), wanted=2),
        deployment("Ingress", replica("i1")),
    ]
    return {
        "name": name,
        "status": "RUNNING",
        "message": "",
        "deployments": {one["name"]: one for one in deployments},
    }


def line(name: str, value: float, **labels: str) -> str:
    inside = ",".join(f'{label}="{text}"' for label, text in labels.items())
    return f"{name}{{{inside}}} {value}"


def counted(metric: Metric, value: float, app: str = "default", **labels: str) -> str:
    return line(metric.exported, value, application=app, **labels)


def histogram(metric: Metric, counts: list[int], **labels: str) -> list[str]:
    """`counts` are those of the buckets of `LIMITS` and of the one above, each by itself."""
    sums = [sum(counts[: i + 1]) for i in range(len(counts))]
    limits = [*map(str, LIMITS), "+Inf"]
    lines = [
        line(f"{metric.exported}_bucket", value, application="default", le=limit, **labels)
        for limit, value in zip(limits, sums, strict=True)
    ]
    return [*lines, line(f"{metric.exported}_count", sums[-1], application="default", **labels)]


def page() -> list[str]:
    """What the first node exports of a graph under load."""
    return [
        "# HELP ray_node_gram_used Total GPU RAM usage on a ray node",
        line("ray_node_gram_used", 60_000, ip="10.0.0.1", GpuIndex="0", GpuDeviceName="H200"),
        line("ray_node_gram_available", 83_000, ip="10.0.0.1", GpuIndex="0"),
        line("ray_node_gpus_utilization", 75, ip="10.0.0.1", GpuIndex="0"),
        line("ray_vllm_num_requests_running", 12, ReplicaId="t1"),
        line("ray_vllm_num_requests_waiting", 3, ReplicaId="t1"),
        line("ray_vllm_kv_cache_usage_perc", 0.25, ReplicaId="t1"),
        counted(metrics.STREAMS_OPEN, 30, replica="w1"),
        counted(metrics.STREAM_PLACES, 120, replica="w1"),
        counted(metrics.HEADROOM, 0.4, replica="w1"),
        counted(metrics.HEADROOM, 0.7, replica="t1"),
        counted(metrics.REPORTED, time.time() - 3, replica="w1"),
        counted(metrics.REPORTED, time.time() - 7, replica="t1"),
        counted(metrics.REPORTED, time.time() - 900, replica="gone"),
        counted(metrics.ANSWERS, 90, end="done", reply="speech"),
        counted(metrics.ANSWERS, 5, end="done", reply="text"),
        counted(metrics.ANSWERS, 5, end="refused", reply="speech"),
        counted(metrics.ANSWERS, 1000, app="another", end="failed", reply="text"),
        counted(metrics.REFUSED, 5, reason="memory"),
        counted(metrics.RESUMED, 2, stage="Thinker", cause="ActorUnavailableError"),
        counted(metrics.CHUNKS, 400),
        counted(metrics.UNDERRUNS, 7),
        *histogram(metrics.FIRST_SOUND, [10, 80, 0, 5, 5]),
        *histogram(metrics.LATE_CHUNKS, [8, 0, 0, 0, 0], cause="tokens"),
        'ray_something_else{le="broken} 1',
    ]


class StandIn(httpx.BaseTransport):
    """Ray's dashboard and two nodes, of which the second gives no metrics."""

    def __init__(self, *applications: dict[str, Any], token: str | None = None) -> None:
        self.applications = {one["name"]: one for one in applications}
        self.page = page()
        self.gone: httpx.TransportError | None = None
        self._token = token

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if self.gone is not None:
            raise self.gone
        if request.url.host == "10.0.0.1":
            return httpx.Response(200, text="\n".join(self.page))
        if request.url.host == "10.0.0.2":
            raise httpx.ConnectTimeout("10.0.0.2")
        if self._token and request.headers.get("authorization") != f"Bearer {self._token}":
            return httpx.Response(401, text="Unauthorized: Missing authentication token")
        if request.url.path == "/api/prometheus/sd":
            return httpx.Response(200, json=[{"labels": {}, "targets": list(NODES)}])
        assert request.url.path == "/api/serve/applications/"
        return httpx.Response(200, json={"applications": self.applications})
