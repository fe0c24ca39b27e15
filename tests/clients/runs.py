"""Runs a client's script in the client's own environment, and what it wrote down."""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deployments.thinker.fake import audio_tokens_of
from serve_app.sound.encoding.wav import wav_file
from tests.clients.server import Asked, Server, fake_server
from tests.clients.sockets import Socket
from tests.places import ROOT
from tests.sounds import decoded

SCRIPTS = Path(__file__).parent
ENVIRONMENTS = ROOT / ".venv-clients"
SAMPLE = ROOT / "deployments" / "token2wav" / "assets" / "default_voice.wav"
TEXT = "Hello there, how are you?"  # that every script has spoken
TOKENS = len(audio_tokens_of(TEXT))
WITHIN_S = 120


@dataclass(frozen=True, slots=True)
class Run:
    """A script that has ended: what it heard and said, and what the server was asked."""

    folder: Path
    heard: dict[str, Any]
    said: str  # on its standard output and error
    requests: list[Asked]
    sockets: list[Socket]

    def samples(self, name: str) -> int:
        """How much sound a file holds as a player decodes it, in samples at 24 kHz."""
        data = (self.folder / name).read_bytes()
        return len(decoded(wav_file(data) if name.endswith(".pcm") else data))

    def asked(self, path: str) -> int:
        """How often the server was asked at `path`."""
        return sum(request.path == path for request in self.requests)


def run(command: Sequence[str | Path], folder: Path, **settings: Any) -> Run:
    """Run a script in `folder` against a server of its own with those settings."""
    shutil.copy(SAMPLE, folder / "sample.wav")
    shutil.copy(SAMPLE, folder / "question.wav")
    with fake_server(folder / "voices", **settings) as server:
        said = output_of(command, folder, server)
        requests = list(server.requests)
    heard = json.loads((folder / "heard.json").read_text())
    return Run(folder, heard, said, requests, server.sockets)


def output_of(command: Sequence[str | Path], folder: Path, server: Server | None = None) -> str:
    """What a command printed; the test fails if the command did."""
    kept = {
        name: os.environ[name]
        for name in ("PATH", "HOME", "LANG", "WITHIN_S")
        if name in os.environ
    }
    done = subprocess.run(
        command,
        cwd=folder,
        env=kept | (server.environment if server else {}),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=WITHIN_S,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def python_of(client: str, otherwise: Path | None = None) -> Path:
    """The interpreter of a client's environment.

    Where there is none it is the one `otherwise`, or else the test skips.
    """
    python = ENVIRONMENTS / client / "bin" / "python"
    if otherwise is not None and not (python.exists() or must_be_installed()):
        return otherwise
    return installed(python)


def node_modules(folder: Path) -> None:
    """Make the packages of the JavaScript client importable from `folder`; skips without them."""
    modules = installed(ENVIRONMENTS / "openai_javascript" / "node_modules")
    (folder / "node_modules").symlink_to(modules)


def installed(path: Path) -> Path:
    if not path.exists() and not must_be_installed():
        pytest.skip(f"{path.relative_to(ROOT)} is not installed: `make clients` installs it")
    assert path.exists(), path
    return path


def must_be_installed() -> bool:
    """Whether a client that is not installed fails its tests."""
    return "REQUIRE_CLIENTS" in os.environ
