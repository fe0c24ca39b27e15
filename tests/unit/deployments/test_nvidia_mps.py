"""MPS is started by the first process that joins and ends after the last one, however it ended."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from deployments import nvidia_mps, nvidia_mps_check
from deployments.errors import ConfigError
from serve_app.app import sharing
from serve_app.config import AppConfig
from tests.waiting import wait_until

# Stands for NVIDIA's control program: the daemon is a file, and every call leaves a line.
CONTROL = """#!{python}
import os, sys
from pathlib import Path
folder = Path(os.environ["CUDA_MPS_PIPE_DIRECTORY"])
running = folder / "running"
command = "start" if "-d" in sys.argv else sys.stdin.read().strip()
with (folder / "calls").open("a") as calls:
    print(command, os.environ.get("CUDA_VISIBLE_DEVICES"), file=calls)
if command == "start":
    if (folder / "broken").exists():
        sys.exit("An instance of this daemon is already running")
    running.touch()
elif command == "quit":
    running.unlink()
elif not running.exists():
    sys.exit("Cannot find MPS control daemon process")
"""
JOIN = """
from deployments import nvidia_mps
nvidia_mps.CHECK = ("true",)
nvidia_mps.join()
print("joined", flush=True)
input()
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the daemon's pipes are; this process has a share of 50 %."""
    programs = tmp_path / "bin"
    programs.mkdir()
    control = programs / nvidia_mps.CONTROL
    control.write_text(CONTROL.format(python=sys.executable))
    control.chmod(0o755)
    folder = tmp_path / "pipes"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setattr(nvidia_mps, "CHECK", ("true",))  # there is no GPU to multiply on
    for name, value in {**nvidia_mps.environment(50), nvidia_mps.PIPES: str(folder)}.items():
        monkeypatch.setenv(name, value)
    yield folder
    nvidia_mps.leave()


def joined_process() -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", JOIN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "joined\n"
    return process


def starts(folder: Path) -> int:
    return (folder / "calls").read_text().count("start")


def test_two_replicas_share_one_daemon_that_outlives_neither(folder: Path) -> None:
    first, second = joined_process(), joined_process()
    assert starts(folder) == 1
    first.send_signal(signal.SIGKILL)
    first.wait()
    third = joined_process()
    for last in (second, third):
        assert (folder / "running").exists()
        last.kill()
        last.wait()
    wait_until(lambda: not (folder / "running").exists(), seconds=20)
    assert starts(folder) == 1


def test_the_daemon_sees_every_gpu(folder: Path) -> None:
    nvidia_mps.join()
    assert "start None\n" in (folder / "calls").read_text()


def test_a_process_without_a_share_starts_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(nvidia_mps.SHARE)
    nvidia_mps.join()
    assert not (folder / "calls").exists()


def test_a_host_without_mps_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ConfigError, match=r"gpu_sharing\.mps needs nvidia-cuda-mps-control"):
        nvidia_mps.join()


def test_a_daemon_that_does_not_start_is_named(folder: Path) -> None:
    (folder / "broken").touch()
    with pytest.raises(ConfigError, match=r"does not start .*already running"):
        nvidia_mps.join()


def test_shares_are_in_the_environment_of_the_stages() -> None:
    shares = AppConfig.model_validate(
        {"model": "none", "gpu_sharing": {"mps": {"thinker": 30}}}
    ).gpu_sharing.mps
    assert shares is not None
    assert (shares.thinker, shares.token2wav) == (30, 100)
    options = sharing(shares.thinker)["ray_actor_options"]["runtime_env"]["env_vars"]
    assert options[nvidia_mps.SHARE] == "30"
    assert sharing(None) == {}


def test_a_share_under_which_the_gpu_multiplies_wrongly_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nvidia_mps, "CHECK", ("sh", "-c", "echo 20 products are wrong >&2; exit 1"))
    with pytest.raises(ConfigError, match=r"share of 50 % \(20 products are wrong\)"):
        nvidia_mps.join()


def test_the_whole_gpu_needs_no_check(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(nvidia_mps.SHARE, "100")
    monkeypatch.setattr(nvidia_mps, "CHECK", ("false",))
    nvidia_mps.join()


def test_right_products_pass_and_an_unwritten_tile_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(nvidia_mps_check, "ROWS", (1, 37))
    monkeypatch.setattr(nvidia_mps_check, "INPUTS_OUTPUTS", ((512, 512),))
    assert nvidia_mps_check.wrong_products("cpu") == []

    def leaves_a_tile(left: torch.Tensor, right: torch.Tensor, out: torch.Tensor) -> None:
        out[:, :384] = (left @ right)[:, :384]

    monkeypatch.setattr(torch, "mm", leaves_a_tile)
    assert nvidia_mps_check.wrong_products("cpu") == ["1×512×512", "37×512×512"] * 2
