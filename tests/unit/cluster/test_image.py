"""The image's recipe names what is there, and agrees with the manifests and the command `serve`."""

import re
import shlex

import pytest

from serve_app.commands.serving.environment import SWITCHES
from tests.unit.cluster.manifests import CLUSTER, MANIFESTS, REPOSITORY, load

every_image = pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.cpu"])


def recipe(name: str) -> str:
    return (CLUSTER / name).read_text(encoding="utf-8").replace("\\\n", " ")


def instructions(name: str, keyword: str) -> list[list[str]]:
    lines = [line for line in recipe(name).splitlines() if line.startswith(keyword + " ")]
    return [shlex.split(line)[1:] for line in lines]


def copied(name: str) -> list[str]:
    """From the repository, not from an earlier stage."""
    copies = [words for words in instructions(name, "COPY") if not words[0].startswith("--from")]
    return [source for *sources, _ in copies for source in sources]


def ignored(name: str) -> list[str]:
    return (CLUSTER / f"{name}.dockerignore").read_text(encoding="utf-8").splitlines()


@every_image
def test_every_copied_source_exists(name) -> None:
    assert copied(name)
    assert [source for source in copied(name) if not (REPOSITORY / source).exists()] == []


@every_image
def test_build_context_lets_every_copied_source_through(name) -> None:
    assert ignored(name)[1] == "*"  # nothing else travels to the builder
    allowed = {line.removeprefix("!") for line in ignored(name) if line.startswith("!")}
    assert allowed == set(copied(name))


@every_image
def test_installed_requirements_are_the_copied_ones(name) -> None:
    used = set(re.findall(r"-r (\S+)", recipe(name)))
    assert used == {source for source in copied(name) if source.startswith("requirements/")}


@every_image
def test_image_runs_without_root_and_brings_no_weights_of_its_own(name) -> None:
    assert instructions(name, "USER")[-1] == ["1000:1000"]
    assert "hf download" not in recipe(name) and "models" not in copied(name)


def test_nano_is_in_the_image_without_a_gpu_alone() -> None:
    with_gpu = ignored("Dockerfile")
    assert with_gpu.index("configs/nano") > with_gpu.index("!configs")  # the last that fits counts
    assert "configs/nano" not in ignored("Dockerfile.cpu")


@every_image
def test_default_command_serves_a_config_that_is_copied(name) -> None:
    (command,) = re.findall(r"^CMD \[(.*)\]$", recipe(name), flags=re.MULTILINE)
    words = shlex.split(command.replace(",", " "))
    assert words[:2] == ["step-audio2", "serve"]
    assert words[2].split("/")[0] in copied(name) and (REPOSITORY / words[2]).is_file()


def test_probes_find_their_program_in_the_image_of_the_pods() -> None:
    assert re.search(r"apt-get install [^&]*\bwget\b", recipe("Dockerfile"))


def test_the_image_without_a_gpu_has_packages_that_were_tested() -> None:
    small, tested = (
        set((REPOSITORY / "requirements" / name).read_text(encoding="utf-8").splitlines())
        for name in ("cpu.txt", "cpu-dev.txt")
    )
    assert small < tested
    assert not any(line.startswith(("pytest==", "ruff==", "matplotlib==")) for line in small)


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
