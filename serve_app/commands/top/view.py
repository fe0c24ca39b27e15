"""What is shown of a cluster: values alone, so that JSON and the screen have the same."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client.samples import Sample

from deployments import metrics
from deployments.errors import ConfigError
from serve_app.commands.top.cluster import Reading
from serve_app.commands.top.figures import Figures

OURS = "Thinker"  # a deployment that each graph of ours has
MB_IN_GB = 1000.0
RUNNING, STARTING = "RUNNING", "STARTING"


@dataclass(frozen=True, slots=True)
class Replica:
    """One replica; what its stage does not have, or does not export, is None."""

    id: str
    state: str
    node: str | None
    streams_open: int | None = None
    places: int | None = None
    headroom: float | None = None
    requests_running: int | None = None
    requests_waiting: int | None = None
    kv_cache_used: float | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """A deployment and its replicas."""

    name: str
    status: str
    wanted: int
    running: int
    replicas: tuple[Replica, ...]


@dataclass(frozen=True, slots=True)
class Quantiles:
    """In seconds; None where nothing was timed."""

    p50: float | None
    p95: float | None


@dataclass(frozen=True, slots=True)
class Lateness:
    """Chunks whose listener had played everything before they came."""

    share: float | None  # of all chunks
    p95_s: float | None  # of the late ones
    by_cause: Mapping[str, int]
    underruns: int  # gaps that clients heard


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU of a node."""

    node: str
    index: str
    name: str
    used_gb: float
    total_gb: float
    busy: float | None  # 0 to 1


@dataclass(frozen=True, slots=True)
class Resume:
    """Answers that went on with another replica."""

    stage: str
    cause: str
    answers: int


@dataclass(frozen=True, slots=True)
class View:
    """A cluster at one moment."""

    at: float  # seconds since 1970
    figures_age_s: float | None  # of the replica whose figures are oldest, by its own clock
    over_s: float | None  # what is counted and timed; None: since each replica began
    application: str
    status: str
    message: str
    stages: tuple[Stage, ...]
    streams_open: int
    headroom: float | None  # for the next answer: of the replica that has most, in the fuller stage
    answers: Mapping[str, int]  # by how they ended
    refused: Mapping[str, int]  # by what was missing
    resumed: tuple[Resume, ...]
    first_sound_s: Quantiles
    late: Lateness
    gpus: tuple[Gpu, ...]
    nodes_without_metrics: tuple[str, ...]


def view_of(reading: Reading, wanted: str | None = None, earlier: Reading | None = None) -> View:
    """What is shown of `reading`, with what happened since `earlier`.

    Args:
        wanted: an application's name; None where there is one.

    Raises:
        ConfigError: there is no such application, or several and no name.
    """
    name, application = _application(reading.details["applications"], wanted)
    figures = Figures(
        _samples_of(name, reading), _samples_of(name, earlier) if earlier is not None else ()
    )
    stages = tuple(_stage(one, figures) for one in application["deployments"].values())
    replicas = [replica for stage in stages for replica in stage.replicas]
    free = [free for stage in stages if (free := _most_free(stage)) is not None]
    ids = [replica.id for replica in replicas]
    reported = [at for one in ids if (at := figures.gauge(metrics.REPORTED.exported, replica=one))]
    resumed = figures.counted_by(metrics.RESUMED, "stage", "cause")
    return View(
        at=reading.at,
        figures_age_s=max((reading.at - one for one in reported), default=None),
        over_s=None if earlier is None else reading.at - earlier.at,
        application=name,
        status=application["status"],
        message=application.get("message") or "",
        stages=stages,
        streams_open=sum(replica.streams_open or 0 for replica in replicas),
        headroom=min(free, default=None),
        answers=_by_one(figures.counted_by(metrics.ANSWERS, "end")),
        refused=_by_one(figures.counted_by(metrics.REFUSED, "reason")),
        resumed=tuple(Resume(stage, cause, answers) for (stage, cause), answers in resumed.items()),
        first_sound_s=Quantiles(
            *(figures.quantile(metrics.FIRST_SOUND, share) for share in (0.5, 0.95))
        ),
        late=_lateness(figures),
        gpus=_gpus(reading.samples),
        nodes_without_metrics=reading.silent,
    )


def _application(
    applications: Mapping[str, Any], wanted: str | None
) -> tuple[str, Mapping[str, Any]]:
    ours = {name: one for name, one in applications.items() if OURS in one["deployments"]}
    if wanted is not None and wanted not in applications:
        known = ", ".join(applications) or "none"
        raise ConfigError(f"Ray Serve has no application {wanted!r}; it has: {known}")
    if wanted is not None:
        return wanted, applications[wanted]
    if len(ours) > 1:
        raise ConfigError(f"name one of the applications with --application: {', '.join(ours)}")
    if not ours:
        raise ConfigError("Ray runs there, but it serves no Step-Audio 2")
    return next(iter(ours.items()))


def _samples_of(application: str, reading: Reading) -> list[Sample]:
    """Without those of other applications; vLLM's know only their replica."""
    return [
        one for one in reading.samples if one.labels.get("application", application) == application
    ]


def _stage(deployment: Mapping[str, Any], figures: Figures) -> Stage:
    replicas = tuple(_replica(one, figures) for one in deployment["replicas"])
    return Stage(
        name=deployment["name"],
        status=deployment["status"],
        wanted=deployment["target_num_replicas"],
        running=sum(one.state == RUNNING for one in replicas),
        replicas=replicas,
    )


def _most_free(stage: Stage) -> float | None:
    free = [replica.headroom for replica in stage.replicas if replica.headroom is not None]
    return max(free, default=None)


def _replica(replica: Mapping[str, Any], figures: Figures) -> Replica:
    unique = replica["replica_id"]

    def ours(metric: metrics.Metric) -> float | None:
        return figures.gauge(metric.exported, replica=unique)

    def vllms(name: str) -> float | None:
        return figures.gauge(f"ray_vllm_{name}", ReplicaId=unique)

    return Replica(
        id=unique,
        state=replica["state"],
        node=replica.get("node_ip"),
        streams_open=_whole(ours(metrics.STREAMS_OPEN)),
        places=_whole(ours(metrics.STREAM_PLACES)),
        headroom=ours(metrics.HEADROOM),
        requests_running=_whole(vllms("num_requests_running")),
        requests_waiting=_whole(vllms("num_requests_waiting")),
        kv_cache_used=vllms("kv_cache_usage_perc"),
    )


def _lateness(figures: Figures) -> Lateness:
    chunks, late = figures.counted(metrics.CHUNKS), figures.counted(metrics.LATE_CHUNKS)
    return Lateness(
        share=late / chunks if chunks else None,
        p95_s=figures.quantile(metrics.LATE_CHUNKS, 0.95),
        by_cause=_by_one(figures.counted_by(metrics.LATE_CHUNKS, "cause")),
        underruns=figures.counted(metrics.UNDERRUNS),
    )


def _gpus(samples: tuple[Sample, ...]) -> tuple[Gpu, ...]:
    """Those of all nodes, by Ray's own metrics: in megabytes and per cent."""
    values = {(one.name, one.labels.get("ip"), one.labels.get("GpuIndex")): one for one in samples}

    def value(name: str, of: Sample) -> float | None:
        found = values.get((name, of.labels.get("ip"), of.labels.get("GpuIndex")))
        return None if found is None else found.value

    return tuple(
        Gpu(
            node=used.labels.get("ip", ""),
            index=used.labels.get("GpuIndex", ""),
            name=used.labels.get("GpuDeviceName", ""),
            used_gb=used.value / MB_IN_GB,
            total_gb=(used.value + (value("ray_node_gram_available", used) or 0)) / MB_IN_GB,
            busy=None if (busy := value("ray_node_gpus_utilization", used)) is None else busy / 100,
        )
        for used in samples
        if used.name == "ray_node_gram_used"
    )


def _by_one(counts: Mapping[tuple[str, ...], int]) -> dict[str, int]:
    return {tags[0]: count for tags, count in counts.items()}


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)
