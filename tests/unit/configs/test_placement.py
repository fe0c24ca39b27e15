"""What Ray Serve is told about where a stage's replica, and vLLM's ranks beside it, may run."""

from typing import Any

import pytest
import yaml
from ray.serve._private.build_app import build_app

from serve_app.app import app
from serve_app.config import AppConfig
from tests.places import CONFIGS

SHARDED = "two_gpus_tensor_parallel.yaml"
BUNDLES = [{"CPU": 2, "GPU": 1}, {"GPU": 1}]


def deployed(arguments: dict[str, Any]) -> dict[str, Any]:
    """The replica configuration of each deployment, as Serve's controller gets it."""
    built = build_app(app(AppConfig.model_validate(arguments)), name="x")
    return {each.name: each._replica_config for each in built.deployments}


def thinker(**deployment_config: Any) -> Any:
    """The Thinker's replica configuration under this `deployment_config`."""
    section = {"deployment_config": deployment_config}
    return deployed({"model": "none", "thinker": section})["Thinker"]


def sharded() -> dict[str, Any]:
    return yaml.safe_load((CONFIGS / SHARDED).read_text())["applications"][0]["args"]


def test_bundles_and_their_strategy_reach_serve():
    replica = thinker(
        placement_group_bundles=BUNDLES,
        placement_group_strategy="SPREAD",
        ray_actor_options={"num_cpus": 2},
    )
    assert replica.placement_group_bundles == BUNDLES
    assert replica.placement_group_strategy == "SPREAD"


def test_a_replica_with_bundles_leaves_their_gpus_to_vllm():
    assert thinker().ray_actor_options["num_gpus"] > 0
    assert thinker(placement_group_bundles=BUNDLES).ray_actor_options["num_gpus"] == 0
    own_share = {"num_gpus": 0.25}
    replica = thinker(placement_group_bundles=BUNDLES, ray_actor_options=own_share)
    assert replica.ray_actor_options["num_gpus"] == 0.25


def test_two_whole_gpus_need_no_bundles():
    replica = thinker(ray_actor_options={"num_gpus": 2})
    assert replica.placement_group_bundles is None
    assert replica.ray_actor_options["num_gpus"] == 2


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"placement_group_bundle": BUNDLES}, "placement_group_bundle"),
        ({"placement_group_strategy": "PACK"}, "placement_group_bundles"),
        ({"placement_group_bundles": BUNDLES, "placement_group_strategy": "NEAR"}, "NEAR"),
        (
            {"placement_group_bundles": BUNDLES, "ray_actor_options": {"num_cpus": 3}},
            "the bundle only has 2",
        ),
    ],
)
def test_bundles_that_cannot_be_are_refused_before_anything_starts(wrong, complaint):
    with pytest.raises((TypeError, ValueError), match=complaint):
        thinker(**wrong)


def test_the_sharded_configuration_fills_two_gpus_and_its_ranks_fit_their_bundles():
    arguments = sharded()
    stages = deployed(arguments)
    replica = stages["Thinker"]
    shares = [bundle.get("GPU", 0) for bundle in replica.placement_group_bundles]
    engine = arguments["thinker"]["engine_kwargs"]
    assert len(shares) == engine["tensor_parallel_size"] == 2
    assert replica.ray_actor_options["num_gpus"] == 0
    environment = replica.ray_actor_options["runtime_env"]["env_vars"]
    assert shares == [float(environment["VLLM_RAY_PER_WORKER_GPUS"])] * 2
    assert "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH" in environment  # added to, not replaced
    token2wav = stages["Token2Wav"].ray_actor_options["num_gpus"]
    assert shares[0] > 1 / 2  # or one GPU could take both ranks
    assert shares[0] + token2wav <= 1
