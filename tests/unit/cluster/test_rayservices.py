"""Both RayServices are what KubeRay, Ray Serve and our own configuration accept."""

import copy
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from deployments.errors import ConfigError
from serve_app.config import AppConfig
from tests.unit.cluster.manifests import CLUSTER, MANIFESTS, crd_schema, load, serve_config
from tests.waiting import wait_until

SHUTDOWN_S = 120  # above the longest answer, 1024 tokens or 33 s of speech, read in real time

every_manifest = pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)


def pod_specs(manifest: dict[str, Any]) -> dict[str, dict[str, Any]]:
    cluster = manifest["spec"]["rayClusterConfig"]
    groups = {group["groupName"]: group for group in cluster["workerGroupSpecs"]}
    groups["head"] = cluster["headGroupSpec"]
    return {name: group["template"]["spec"] for name, group in groups.items()}


def app_config(manifest: dict[str, Any]) -> AppConfig:
    (application,) = serve_config(manifest)["applications"]
    return AppConfig.model_validate(application["args"])


def deployments(manifest: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Ray Serve's options of each deployment, as the configuration overrides them."""
    (application,) = serve_config(manifest)["applications"]
    return {deployment["name"]: deployment for deployment in application["deployments"]}


def manifest_of(name: str) -> dict[str, Any]:
    return load(CLUSTER / f"rayservice-{name}.yaml")


def test_a_manifest_for_each_layout_and_one_that_scales_are_there() -> None:
    assert [path.stem.removeprefix("rayservice-") for path in MANIFESTS] == [
        "autoscaling",
        "one-gpu",
        "two-groups",
    ]


@every_manifest
def test_kuberay_schema_accepts_it_and_knows_every_field(path: Path) -> None:
    jsonschema.Draft7Validator(crd_schema()).validate(load(path))


@every_manifest
def test_kuberay_schema_refuses_misspelt_field_anywhere(path: Path) -> None:
    validator = jsonschema.Draft7Validator(crd_schema())
    in_group = load(path)
    in_group["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["minReplica"] = 1
    in_container = load(path)
    worker = in_container["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]
    worker["template"]["spec"]["containers"][0]["imagePolicy"] = "Always"
    for manifest, field in ((in_group, "minReplica"), (in_container, "imagePolicy")):
        with pytest.raises(jsonschema.ValidationError, match=field):
            validator.validate(manifest)


@every_manifest
def test_ray_serve_accepts_its_config(path: Path) -> None:
    schema = ServeDeploySchema.model_validate(serve_config(load(path)))
    assert [app.import_path for app in schema.applications] == ["serve_app.app:app"]


@every_manifest
def test_app_config_accepts_its_args_with_both_stages(path: Path) -> None:
    config = app_config(load(path))
    assert config.model == "/models/Step-Audio-2-mini"
    assert config.token2wav is not None


@every_manifest
def test_actor_options_are_ray_serves_own(path: Path) -> None:
    from ray.serve.schema import RayActorOptionsSchema

    config = app_config(load(path))
    assert config.token2wav is not None
    sections = (config.thinker, config.token2wav)
    options = [section.deployment_config["ray_actor_options"] for section in sections]
    options.append(config.ingress_deployment_config["ray_actor_options"])
    for option in options:
        known = RayActorOptionsSchema.model_validate(option).model_dump(exclude_unset=True)
        assert known == option


@every_manifest
def test_every_replica_fits_on_a_group(path: Path) -> None:
    manifest = load(path)
    config = app_config(manifest)
    assert config.token2wav is not None
    needs = [
        config.thinker.deployment_config["ray_actor_options"],
        config.token2wav.deployment_config["ray_actor_options"],
        config.ingress_deployment_config["ray_actor_options"],
    ]
    groups = manifest["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    placed = 0
    for group in groups:
        labels = group.get("labels", {})
        here = [need for need in needs if need.get("label_selector", labels) == labels]
        placed += len(here)
        limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
        assert sum(need.get("num_cpus", 0) for need in here) <= int(limits["cpu"])
        assert sum(need.get("num_gpus", 0) for need in here) <= int(limits["nvidia.com/gpu"])
        assert here, f"nothing runs on {group['groupName']}"
    assert placed == len(needs)


def test_two_groups_keep_the_stages_apart() -> None:
    config = app_config(manifest_of("two-groups"))
    assert config.token2wav is not None
    thinker, token2wav = (
        section.deployment_config["ray_actor_options"]["label_selector"]
        for section in (config.thinker, config.token2wav)
    )
    assert (thinker, token2wav) == ({"stage": "thinker"}, {"stage": "token2wav"})


def test_one_gpu_holds_both_stages() -> None:
    config = app_config(manifest_of("one-gpu"))
    assert config.token2wav is not None
    thinker, token2wav = (
        section.deployment_config["ray_actor_options"]["num_gpus"]
        for section in (config.thinker, config.token2wav)
    )
    assert 0 < thinker < 1 and 0 < token2wav < 1 and thinker + token2wav <= 1
    # the fractions bound nothing: vLLM must leave room by itself
    assert config.thinker.engine_kwargs["gpu_memory_utilization"] <= 0.6


@every_manifest
def test_head_runs_no_replica(path: Path) -> None:
    head = load(path)["spec"]["rayClusterConfig"]["headGroupSpec"]
    assert head["rayStartParams"]["num-cpus"] == "0"


@every_manifest
def test_grace_periods_are_above_the_longest_stream(path: Path) -> None:
    manifest = load(path)
    for deployment in deployments(manifest).values():
        assert deployment["graceful_shutdown_timeout_s"] >= SHUTDOWN_S
    assert manifest["spec"]["rayClusterDeletionDelaySeconds"] > SHUTDOWN_S
    for pod in pod_specs(manifest).values():
        assert pod["terminationGracePeriodSeconds"] > SHUTDOWN_S


@every_manifest
def test_a_pod_that_is_deleted_has_time_to_drain(path: Path) -> None:
    manifest = load(path)
    streams_s = max(d["graceful_shutdown_timeout_s"] for d in deployments(manifest).values())
    for pod in pod_specs(manifest).values():
        (container,) = pod["containers"]
        environment = {variable["name"]: variable["value"] for variable in container["env"]}
        drain_s = float(environment[ray_drain_variable()])
        assert streams_s < drain_s < pod["terminationGracePeriodSeconds"]
        assert "lifecycle" not in container  # Ray learns of the end by the signal that follows it
        assert "command" not in container  # KubeRay's own, whose last command gets the signal


def ray_drain_variable() -> str:
    from ray._private import ray_constants

    name = "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"
    assert hasattr(ray_constants, name)
    return name


def test_the_shell_that_kuberay_starts_gives_its_process_to_the_last_command() -> None:
    with subprocess.Popen(["/bin/bash", "-lc", "--", "ulimit -n 65536; sleep 60"]) as started:
        name = Path(f"/proc/{started.pid}/comm")
        try:
            wait_until(lambda: name.read_text().strip() == "sleep")
        finally:
            started.terminate()


@every_manifest
def test_what_scales_stands_where_an_edit_restarts_nothing(path: Path) -> None:
    manifest = load(path)
    config = app_config(manifest)
    assert config.token2wav is not None
    assert set(deployments(manifest)) == {"Thinker", "Token2Wav", "Ingress"}
    for options in (
        config.thinker.deployment_config,
        config.token2wav.deployment_config,
        config.ingress_deployment_config,
    ):
        assert set(options) == {"ray_actor_options"}
    for deployment in deployments(manifest).values():
        assert "max_ongoing_requests" in deployment
        assert ("num_replicas" in deployment) != ("autoscaling_config" in deployment)
        # it would take the place of all that the application sets, gRPC's limits among it
        assert "ray_actor_options" not in deployment


@every_manifest
def test_nothing_stands_there_that_kuberay_ignores(path: Path) -> None:
    spec = load(path)["spec"]
    assert not {"serviceUnhealthySecondThreshold", "deploymentUnhealthySecondThreshold"} & set(spec)
    assert spec["excludeHeadPodFromServeSvc"] is True  # it runs no replica


@every_manifest
def test_pods_are_unprivileged_and_probed(path: Path) -> None:
    for pod in pod_specs(load(path)).values():
        assert pod["securityContext"]["runAsNonRoot"] is True
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert {"readinessProbe", "livenessProbe"} <= set(container)


@every_manifest
def test_every_mount_has_its_volume(path: Path) -> None:
    for pod in pod_specs(load(path)).values():
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in (*pod["containers"], *pod.get("initContainers", ())):
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes


@every_manifest
def test_misspelt_arg_is_refused_by_name(path: Path) -> None:
    (application,) = serve_config(load(path))["applications"]
    args = copy.deepcopy(application["args"])
    args["token2wav"]["max_stream"] = 1
    with pytest.raises(ConfigError, match="max_stream"):
        AppConfig.model_validate(args)


@every_manifest
def test_ray_version_is_the_locked_one(path: Path) -> None:
    lock = (path.parents[1] / "requirements" / "gpu.txt").read_text(encoding="utf-8")
    version = load(path)["spec"]["rayClusterConfig"]["rayVersion"]
    assert f"\nray=={version}\n" in lock


@pytest.mark.parametrize(
    ("manifest", "config"),
    [
        ("rayservice-one-gpu", "single_gpu"),
        ("rayservice-two-groups", "two_gpus"),
        ("rayservice-autoscaling", "autoscaling"),
    ],
)
def test_a_manifest_runs_the_engines_as_the_measured_configuration_does(
    manifest: str, config: str
) -> None:
    top = Path(__file__).parents[3]
    (served,) = serve_config(load(top / "cluster" / f"{manifest}.yaml"))["applications"]
    shipped = yaml.safe_load((top / "configs" / f"{config}.yaml").read_text(encoding="utf-8"))
    for stage in ("thinker", "token2wav"):
        ours = dict(served["args"][stage])
        theirs = dict(shipped["applications"][0]["args"][stage])
        del ours["deployment_config"], theirs["deployment_config"]
        assert ours == theirs


def test_pods_follow_the_replicas_that_the_policy_wants() -> None:
    manifest = manifest_of("autoscaling")
    cluster = manifest["spec"]["rayClusterConfig"]
    (group,) = cluster["workerGroupSpecs"]
    (application,) = serve_config(manifest)["applications"]
    shipped = yaml.safe_load((CLUSTER.parent / "configs/autoscaling.yaml").read_text("utf-8"))
    assert application["autoscaling_policy"] == shipped["applications"][0]["autoscaling_policy"]
    assert cluster["enableInTreeAutoscaling"] is True
    for stage in ("Thinker", "Token2Wav"):
        scaled = deployments(manifest)[stage]
        bounds = scaled["autoscaling_config"]
        assert bounds["min_replicas"] == group["minReplicas"]
        assert bounds["max_replicas"] == group["maxReplicas"]
        assert scaled["max_replicas_per_node"] == 1  # Ray may put two of a stage on one GPU
    assert "autoscaling_config" not in deployments(manifest)["Ingress"]


@pytest.mark.parametrize("config", ["single_gpu"])
def test_the_configuration_that_scales_runs_the_engines_of_the_one_that_does_not(config) -> None:
    folder = CLUSTER.parent / "configs"
    one, scaled = (
        yaml.safe_load((folder / f"{name}.yaml").read_text("utf-8"))["applications"][0]["args"]
        for name in (config, "autoscaling")
    )
    assert one == scaled


@every_manifest
def test_rays_token_is_kept_through_upgrades(path: Path) -> None:
    auth = load(path)["spec"]["rayClusterConfig"]["authOptions"]
    assert auth["mode"] == "token"
    page = (CLUSTER / "README.md").read_text(encoding="utf-8")
    assert f"create secret generic {auth['secretName']} --from-literal=auth_token=" in page
