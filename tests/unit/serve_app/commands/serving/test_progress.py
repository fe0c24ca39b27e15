"""What a graph waits for, in the words that an operator reads."""

from typing import Any

import pytest
from ray.serve.schema import ServeInstanceDetails

from serve_app.commands.serving.progress import failure, is_running, waiting

TRACE = """The deployment failed to start 1 times in a row. Error:
Traceback (most recent call last):
  File "deployment.py", line 1, in __init__
    raise ConfigError(f"the voice")
deployments.errors.ConfigError: the voice 'high' cannot be read: no such file"""


def replica(state: str, node: str | None) -> dict[str, Any]:
    return {"state": state, "node_id": node, "replica_id": "1", "start_time_s": 0.0}


def deployment(name: str, *replicas: dict[str, Any], **other: Any) -> dict[str, Any]:
    config = {"name": name, **other.pop("deployment_config", {})}
    return {
        "name": name,
        "status": "UPDATING",
        "status_trigger": "CONFIG_UPDATE_STARTED",
        "message": "",
        "deployment_config": config,
        "target_num_replicas": 1,
        "required_resources": {"CPU": 0.25},
        "replicas": list(replicas),
        **other,
    }


def details(*deployments: dict[str, Any], status: str = "DEPLOYING") -> ServeInstanceDetails:
    application = {
        "name": "step-audio2",
        "route_prefix": "/",
        "docs_path": None,
        "status": status,
        "message": "",
        "last_deployed_time_s": 0.0,
        "deployed_app_config": None,
        "source": "declarative",
        "external_scaler_enabled": False,
        "deployments": {one["name"]: one for one in deployments},
    }
    return ServeInstanceDetails.model_validate(
        {
            "controller_info": {},
            "target_capacity": None,
            "proxies": {},
            "applications": {"step-audio2": application},
        }
    )


def sentences(found: ServeInstanceDetails, cluster: dict, free: dict) -> list[str]:
    return [one.sentence(cluster, free) for one in waiting(found)]


def test_a_replica_without_a_place_says_what_it_needs_and_what_there_is() -> None:
    found = details(
        deployment("Thinker", replica("RUNNING", "n")),
        deployment("Ingress", replica("STARTING", None)),
    )
    assert sentences(found, {"CPU": 1.0, "memory": 9e9}, {}) == [
        "Ingress waits for 0.25 CPU; the cluster has 1 CPU, free: 0 CPU"
    ]


def test_a_gpu_that_no_node_has_is_named() -> None:
    need = {"CPU": 1, "GPU": 0.6}
    found = details(deployment("Thinker", replica("STARTING", None), required_resources=need))
    assert sentences(found, {"CPU": 2.0}, {"CPU": 1.5}) == [
        "Thinker waits for 1 CPU, 0.6 GPU; the cluster has 2 CPU, 0 GPU, free: 1.5 CPU, 0 GPU"
    ]


def test_a_placement_group_counts_with_all_its_bundles() -> None:
    bundles = {"placement_group_bundles": [{"CPU": 1, "GPU": 1}, {"GPU": 1}]}
    waits = deployment("Thinker", replica("STARTING", None), deployment_config=bundles)
    assert sentences(details(waits), {"CPU": 4, "GPU": 1}, {"CPU": 4, "GPU": 1}) == [
        "Thinker waits for 1 CPU, 2 GPU; the cluster has 4 CPU, 1 GPU, free: 4 CPU, 1 GPU"
    ]


def test_a_replica_that_loads_its_model_waits_for_no_resource() -> None:
    found = details(deployment("Thinker", replica("STARTING", "n")))
    assert sentences(found, {}, {}) == ["Thinker is starting"]


def test_a_replica_that_has_room_is_starting_and_says_what_its_node_must_have() -> None:
    need = {"CPU": 2, "GPU": 0}
    options = {"ray_actor_options": {"num_cpus": 2, "label_selector": {"stage": "thinker"}}}
    found = details(
        deployment(
            "Thinker",
            replica("STARTING", None),
            required_resources=need,
            deployment_config=options,
        )
    )
    assert sentences(found, {"CPU": 4.0}, {"CPU": 3.0}) == [
        "Thinker is starting; it needs one node with 2 CPU, stage=thinker"
    ]


def test_a_graph_that_runs_waits_for_nothing() -> None:
    found = details(deployment("Thinker", replica("RUNNING", "n")), status="RUNNING")
    assert is_running(found) and waiting(found) == [] and failure(found) is None
    assert not is_running(details(deployment("Thinker", replica("STARTING", "n"))))


def test_a_configuration_that_a_stage_refuses_is_a_failure_at_its_first_attempt() -> None:
    found = details(deployment("Token2Wav", replica("STARTING", "n"), message=TRACE))
    assert failure(found) == "the voice 'high' cannot be read: no such file"


@pytest.mark.parametrize(("status", "failed"), [("DEPLOYING", False), ("DEPLOY_FAILED", True)])
def test_another_error_is_one_when_ray_serve_has_given_up(status: str, failed: bool) -> None:
    account = "Traceback (most recent call last):\nOSError: the disk is full"
    found = details(deployment("Thinker", message=account), status=status)
    assert failure(found) == ("OSError: the disk is full" if failed else None)
