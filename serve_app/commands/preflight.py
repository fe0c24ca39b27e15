"""Checks before Ray starts: each fault that a person can correct is one line."""

import os
import socket
from collections.abc import Mapping
from pathlib import Path

from deployments.errors import ConfigError
from deployments.model_checks import read_tokenizer
from deployments.model_files import ModelFiles, find_model
from deployments.thinker.sampling import sampling_of
from deployments.thinker.tokens import SpecialTokens
from deployments.token2wav.configured_voices import voice_files
from serve_app.config import AppConfig
from serve_app.whole_files import reason, require_folder

SOCKET_PATH_BYTES = 107  # the longest of a Unix socket on Linux
# What Ray puts behind the folder; microseconds and the process's number are as long as they get.
RAY_SOCKET = "/ray/session_2026-01-01_00-00-00_000000_{pid}/sockets/plasma_store"
VLLM_SOCKET = "/00000000-0000-0000-0000-000000000000"
DEFAULT_FOLDER = "/tmp"
CONNECT_TIMEOUT_S = 5.0


def require_model(config: AppConfig) -> ModelFiles | None:
    """Check the files of the model that this machine would serve; None where all stages are fake.

    Raises:
        ConfigError: names the file that is missing, damaged, or does not fit the others.
    """
    token2wav = config.token2wav
    thinks = config.thinker.engine != "fake"
    speaks = token2wav is not None and token2wav.engine != "fake"
    if not thinks and not speaks:
        return None
    files = find_model(config.model)
    files.require(thinker=thinks, token2wav=speaks, weights=config.thinker.reads_weights)
    if thinks:
        if tokenizer := read_tokenizer(files.root):
            SpecialTokens.from_tokenizer(tokenizer)
        sampling_of(config.thinker.sampling, files.root)
    if token2wav is not None and speaks:
        from deployments.token2wav.functional.published_weights import (
            require_weights,  # imports torch
        )

        require_weights(files.token2wav)
        voice_files(token2wav, files)
    return files


def require_ray_folder(environ: Mapping[str, str] = os.environ) -> None:
    """Check the folder in which Ray and vLLM keep their sockets.

    Raises:
        ConfigError: its path is too long for a Unix socket, or it cannot be written.
    """
    name = next((name for name in ("RAY_TMPDIR", "TMPDIR") if name in environ), "TMPDIR")
    ray_socket = RAY_SOCKET.format(pid=os.getpid())
    for variable, socket_name in ((name, ray_socket), ("TMPDIR", VLLM_SOCKET)):
        folder = environ.get(variable) or DEFAULT_FOLDER
        most = SOCKET_PATH_BYTES - len(socket_name)
        if len(os.fsencode(folder)) > most:
            raise ConfigError(
                f"{variable} is too long for the sockets in it: {folder} has "
                f"{len(os.fsencode(folder))} bytes, at most {most} fit; /tmp would do"
            )
    require_folder(Path(environ.get(name) or DEFAULT_FOLDER), name)


def require_cluster(address: str) -> None:
    """Check that something listens at `address`: Ray would try for a minute and more.

    Raises:
        ConfigError: nothing does, or it is no address.
    """
    if address in ("auto", "local"):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise ConfigError(f"--ray-address {address!r} is neither `auto` nor HOST:PORT")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        what = reason(error) if isinstance(error, OSError) else "no such port"
        raise ConfigError(f"there is no Ray cluster at {address}: {what}") from error
