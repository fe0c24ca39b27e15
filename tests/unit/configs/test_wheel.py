"""What a wheel of the project brings, and that it is found where the wheel is installed."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.places import CONFIGS, ROOT

SOURCES = (
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "serve_app",
    "deployments",
    "configs",
    "cluster",
)
FIND = """
from serve_app.commands.end2end import Options, default_config, make_config
from serve_app.commands.prompts import QueryType
from deployments.model_files import find_model
from deployments.token2wav.configured_voices import voice_files

print(default_config(0))
config = make_config(Options(QueryType.AUDIO_TO_AUDIO), lambda: 0)
files = find_model(config.model)
files.require()
print(files.root)
print(voice_files(config.token2wav, files, {})["low"])
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a wheel was unpacked into; it is built without network and isolation."""
    top = tmp_path_factory.mktemp("wheel")
    source = top / "source"
    source.mkdir()
    for name in SOURCES:  # a copy: setuptools writes into the folder that it builds from
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, symlinks=True)
        else:
            shutil.copy(ROOT / name, source / name)
    build = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(top)], cwd=source, check=True)
    (wheel,) = top.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(top / "installed")
    return top / "installed"


def test_a_wheel_brings_every_configuration(installed: Path) -> None:
    brought = {path.name for path in (installed / "configs").glob("*.yaml")}
    assert brought == {path.name for path in CONFIGS.glob("*.yaml")}


def test_a_wheel_brings_the_program_that_starts_haproxy(installed: Path) -> None:
    (wheel,) = installed.parent.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        program = archive.getinfo("serve_app/commands/serving/haproxy")
    assert program.external_attr >> 16 & 0o111  # pip gives it to the installed file


def test_a_wheel_brings_what_plan_reads(installed: Path) -> None:
    folder = "serve_app/commands/planning"
    for path in (ROOT / folder).glob("*.yaml"):
        assert (installed / folder / path.name).read_bytes() == path.read_bytes()


def test_an_installed_wheel_finds_its_configuration_model_and_voices(
    installed: Path, tmp_path: Path
) -> None:
    found = subprocess.run(
        [sys.executable, "-c", FIND],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(installed)},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    nano = installed / "configs" / "nano"
    assert found == [str(nano.parent / "cpu.yaml"), str(nano), str(nano / "voices" / "low.wav")]
