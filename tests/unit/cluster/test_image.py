"""The image's recipe names what is there, and agrees with the manifests and the command `serve`."""

import re
import shlex

import pytest

from serve_app.commands.serving.environment import SWITCHES
from tests.unit.cluster.manifests import CLUSTER, MANIFESTS, REPOSITORY, load

DOCKERFILE = (CLUSTER / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")


def instructions(keyword: str) -> list[list[str]]:
    lines = [line for line in DOCKERFILE.splitlines() if line.startswith(keyword + " ")]
    return [shlex.split(line)[1:] for line in lines]


def copied() -> list[str]:
    return [source for *sources, _ in instructions("COPY") for source in sources]


def test_every_copied_source_exists() -> None:
    assert copied()
    assert [source for source in copied() if not (REPOSITORY / source).exists()] == []


def test_build_context_lets_every_copied_source_through() -> None:
    lines = (CLUSTER / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert lines[1] == "*"  # nothing else travels to the builder
    allowed = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert allowed == set(copied())


def test_installed_requirements_are_the_copied_ones() -> None:
    used = set(re.findall(r"-r (\S+)", DOCKERFILE))
    assert used == {source for source in copied() if source.startswith("requirements/")}


def test_image_runs_without_root_and_brings_no_weights() -> None:
    assert instructions("USER")[-1] == ["1000:1000"]
    assert "hf download" not in DOCKERFILE and "models" not in copied()
    lines = (CLUSTER / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert lines.index("configs/nano") > lines.index("!configs")  # the last line that fits counts


def test_default_command_serves_a_config_that_is_copied() -> None:
    (command,) = re.findall(r"^CMD \[(.*)\]$", DOCKERFILE, flags=re.MULTILINE)
    config = shlex.split(command.replace(",", " "))[-1]
    assert config.split("/")[0] in copied() and (REPOSITORY / config).is_file()


def test_probes_find_their_program_in_the_image() -> None:
    assert re.search(r"apt-get install [^&]*\bwget\b", DOCKERFILE)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_pods_run_with_the_flags_of_our_command(path) -> None:
    flags = {name: value for name, value in SWITCHES.items() if name.startswith("RAY_SERVE_")}
    # A pod that goes answers until the load balancer has noticed; a person's machine has none.
    del flags["RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S"]
    assert flags
    head = load(path)["spec"]["rayClusterConfig"]["headGroupSpec"]
    groups = [head, *load(path)["spec"]["rayClusterConfig"]["workerGroupSpecs"]]
    for group in groups:
        (container,) = group["template"]["spec"]["containers"]
        environment = {variable["name"]: variable["value"] for variable in container["env"]}
        assert flags.items() <= environment.items()
        assert "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S" not in environment
