"""What Ray Serve hands to the policy, and what it gets."""

import time
from types import SimpleNamespace
from typing import Any

import pytest
from ray.serve._private.autoscaling_state import _resolve_policy_callable
from ray.serve.config import AutoscalingPolicy
from ray.serve.schema import ServeDeploySchema

from deployments.errors import ServerFull
from deployments.scaling.ray_policy import FRESH_S, Headroom
from deployments.scaling.stage_load import StageLoad
from serve_app.commands.config_file import read_configuration
from serve_app.config import AppConfig
from tests.places import CONFIGS

PATH = "deployments.scaling.ray_policy:Headroom"
NOW_S = 1000.0


def series(value: float, at_s: float = NOW_S) -> list[Any]:
    return [
        SimpleNamespace(timestamp=at_s - 1, value=-99.0),
        SimpleNamespace(timestamp=at_s, value=value),
    ]


def context(
    name: str, *reports: dict[str, float], at_s: float = NOW_S, running: int | None = None
) -> Any:
    """An `AutoscalingContext`; each of `reports` is a replica's newest."""
    names = {key for report in reports for key in report}
    raw = {
        key: {f"{name}-{i}": series(report[key], at_s) for i, report in enumerate(reports)}
        for key in names
    }
    count = len(reports) if running is None else running
    return SimpleNamespace(
        deployment_name=name,
        current_time=at_s,
        running_replicas=[f"{name}-{i}" for i in range(count)],
        target_num_replicas=count,
        raw_metrics=raw,
        capacity_adjusted_min_replicas=1,
        capacity_adjusted_max_replicas=16,
    )


def token2wav(load: float, asked: float = 0, refused: float = 0) -> dict[str, float]:
    return {"load": load, "asked": asked, "refused": refused}


def decided(policy: Headroom, *contexts: Any) -> dict[str, int]:
    decision, state = policy({one.deployment_name: one for one in contexts})
    assert state == {}
    return decision


def test_both_stages_get_what_their_loads_need() -> None:
    full = [token2wav(1.0), token2wav(1.0)]
    assert decided(Headroom(), context("Thinker", token2wav(0.3)), context("Token2Wav", *full)) == {
        "Thinker": 1,
        "Token2Wav": 3,
    }


def test_a_deployment_that_reports_nothing_keeps_its_replicas() -> None:
    assert decided(Headroom(), context("Ingress", running=2)) == {"Ingress": 2}


def test_what_a_replica_said_long_ago_counts_no_more() -> None:
    policy, old = Headroom(), context("Token2Wav", token2wav(1.0), token2wav(1.0))
    old.current_time = NOW_S + FRESH_S + 1
    assert decided(policy, old) == {"Token2Wav": 2}


def test_refusals_of_the_last_seconds_raise_both_stages() -> None:
    policy = Headroom()
    loads = [token2wav(1.0, asked=100), token2wav(1.0, asked=100)]
    decided(policy, context("Thinker", token2wav(0.9)), context("Token2Wav", *loads))
    # 40 more were let in, and 80 asked both in vain
    loads = [token2wav(1.0, asked=200, refused=80), token2wav(1.0, asked=200, refused=80)]
    contexts = [
        context("Thinker", token2wav(0.9), at_s=NOW_S + 4),
        context("Token2Wav", *loads, at_s=NOW_S + 4),
    ]
    assert decided(policy, *contexts) == {"Thinker": 3, "Token2Wav": 7}


def test_a_replica_that_is_new_has_refused_nobody_yet() -> None:
    policy = Headroom()
    decided(policy, context("Token2Wav", token2wav(0.5, asked=100, refused=50)))
    both = [token2wav(0.5, asked=101, refused=50), token2wav(0.1, asked=1)]
    assert decided(policy, context("Token2Wav", *both, at_s=NOW_S + 1)) == {"Token2Wav": 2}


def test_ray_serve_makes_one_object_of_it() -> None:
    policy = _resolve_policy_callable(
        AutoscalingPolicy(policy_function=PATH, policy_kwargs={"load": 0.8})
    )
    assert isinstance(policy, Headroom)
    with pytest.raises(ValueError, match="lod"):
        Headroom(lod=0.8)


async def test_a_replica_counts_what_it_refuses() -> None:
    load = StageLoad()
    with load.counted():
        pass
    with pytest.raises(ServerFull), load.counted():
        raise ServerFull()
    with pytest.raises(RuntimeError), load.counted():
        raise RuntimeError
    assert load.stats(headroom=0.25) == {"load": 0.75, "asked": 3, "refused": 1}


def test_the_shipped_configuration_scales_both_stages_by_it() -> None:
    read = read_configuration(CONFIGS / "autoscaling.yaml")
    (application,) = ServeDeploySchema.model_validate(dict(read.document)).applications
    policy = AutoscalingPolicy.model_validate(application.autoscaling_policy)
    assert policy.policy_function == PATH
    Headroom(**policy.policy_kwargs)
    AppConfig.model_validate(read.arguments)
    scaled = {one.name: one.autoscaling_config for one in application.deployments}
    for stage in ("Thinker", "Token2Wav"):
        assert scaled[stage]["upscale_delay_s"] == scaled[stage]["downscale_delay_s"] == 0
        assert scaled[stage]["metrics_interval_s"] <= 1  # a decision takes five seconds at most
        assert scaled[stage]["min_replicas"] < scaled[stage]["max_replicas"]


def test_a_decision_takes_little_of_the_controller() -> None:
    policy = Headroom()
    loads = [token2wav(0.5) for _ in range(16)]
    began = time.process_time()
    for tick in range(600):
        decided(policy, context("Token2Wav", *loads, at_s=NOW_S + tick / 10))
    assert time.process_time() - began < 6.0  # 10 ms each, of which this test's own part is most
