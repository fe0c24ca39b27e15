"""CUDA's Multi-Process Service (MPS): processes use one GPU at the same time, each a share of it.

Without MPS a GPU serves one process after another. A share is a percentage of the GPU's
multiprocessors, and CUDA reads it when a process first uses the GPU. So `environment` has to be in
a replica's environment, and `join` has to run before anything in the replica touches the GPU.

Under some shares cuBLAS multiplies wrongly without an error, so each replica's share is tried first
(`deployments/nvidia_mps_check.py`).

On each host the first replica starts the daemon. A keeper, a small process beside it, ends the
daemon once no replica of the host is left, however the replicas ended.
https://docs.nvidia.com/deploy/mps
"""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

from deployments.errors import ConfigError

CONTROL = "nvidia-cuda-mps-control"
PIPES = "CUDA_MPS_PIPE_DIRECTORY"
LOGS = "CUDA_MPS_LOG_DIRECTORY"
SHARE = "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"
VISIBLE = "CUDA_VISIBLE_DEVICES"
WHOLE = "100"
CHECK = (sys.executable, "-m", "deployments.nvidia_mps_check")
ANSWERS_WITHIN_S = 20.0  # at `quit` the control program waits for its clients to end

# Runs a command that is no child of this process: Ray ends the children of a replica with it.
ORPHAN = (
    "import os, sys; os.fork() and os._exit(0); os.setsid(); os.execv(sys.argv[1], sys.argv[1:])"
)

_held: list[IO[str]] = []  # for the life of this process


def environment(share: int) -> dict[str, str]:
    """What a replica that may use `share` per cent of the GPU must find in its environment."""
    folder = Path(tempfile.gettempdir(), f"step-audio2-mps-{os.getuid()}")
    return {PIPES: str(folder), LOGS: str(folder), SHARE: str(share)}


def join() -> None:
    """Make sure that the daemon runs where this process was given a share; else do nothing.

    Raises:
        ConfigError: there is no MPS on this host, it does not start, or the GPU multiplies wrongly
            under this share.
    """
    if SHARE in os.environ and PIPES in os.environ and not _held:
        _held.append(_joined(Path(os.environ[PIPES])))
        if os.environ[SHARE] != WHOLE:
            _require_right_products()


def leave() -> None:
    """Undo `join`; the end of the process does the same."""
    while _held:
        _held.pop().close()


def _joined(folder: Path) -> IO[str]:
    """A file that is open while this process needs the daemon."""
    if shutil.which(CONTROL) is None:
        raise ConfigError(
            f"the configuration's gpu_sharing.mps needs {CONTROL}, which comes with NVIDIA's "
            "driver: it is not on this host's PATH"
        )
    folder.mkdir(mode=0o700, exist_ok=True)
    with _lock(folder / "starting", fcntl.LOCK_EX):
        user = _lock(folder / "users", fcntl.LOCK_SH)
        if not _answers():
            _start(folder)
    return user


def _require_right_products() -> None:
    """Multiply in a process of its own: this one must not keep a part of the GPU for it."""
    check = subprocess.run(CHECK, capture_output=True, text=True)
    if check.returncode:
        said = (check.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise ConfigError(
            f"the configuration's gpu_sharing.mps: the GPU cannot be trusted under a share of "
            f"{os.environ[SHARE]} % ({said}); choose another, such as 50 or 100"
        )


def _lock(path: Path, kind: int) -> IO[str]:
    file = path.open("a")
    try:
        fcntl.flock(file, kind)
    except OSError:
        file.close()
        raise
    return file


def _control(command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [CONTROL], input=command + "\n", capture_output=True, text=True, timeout=ANSWERS_WITHIN_S
    )


def _answers() -> bool:
    try:
        return _control("get_server_list").returncode == 0
    except subprocess.TimeoutExpired:
        return False


def _start(folder: Path) -> None:
    # The daemon would number the GPUs by this replica's list, which is wrong for the others.
    everybodys = {k: v for k, v in os.environ.items() if k not in (VISIBLE, SHARE)}
    started = subprocess.run([CONTROL, "-d"], capture_output=True, text=True, env=everybodys)
    if started.returncode or not _answers():
        said = " ".join((started.stderr or started.stdout).split())
        raise ConfigError(
            f"the configuration's gpu_sharing.mps: {CONTROL} does not start on this host "
            f"({said or 'it says nothing'}; its log is {folder}/control.log)"
        )
    command = [sys.executable, "-m", "deployments.nvidia_mps", str(folder)]
    subprocess.run([sys.executable, "-c", ORPHAN, *command], check=True, stdin=subprocess.DEVNULL)


def keep(folder: Path) -> None:
    """Wait until no process of this host uses the daemon, and end it."""
    while True:
        _lock(folder / "users", fcntl.LOCK_EX).close()
        with _lock(folder / "starting", fcntl.LOCK_EX):  # no replica joins meanwhile
            try:
                last = _lock(folder / "users", fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # a replica has joined in between
                continue
            _control("quit")
            last.close()
            return


if __name__ == "__main__":
    keep(Path(sys.argv[1]))
