"""The command: all checks in turn, each told when it is done, and the page at the end."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml
from rich.console import Console

from deployments.errors import ConfigError
from deployments.model_files import ModelFiles, find_model
from serve_app.bench.environment import environment
from serve_app.commands.config_file import read_configuration
from serve_app.commands.console import say
from serve_app.commands.own_server import server
from serve_app.commands.server_requests import served_model
from serve_app.commands.server_wait import wait_until_ready
from serve_app.commands.serving.listeners import free_port
from serve_app.commands.verifying.file_checks import check_files
from serve_app.commands.verifying.findings import Finding, failures
from serve_app.commands.verifying.official_parity import check_official_parity
from serve_app.commands.verifying.page import page
from serve_app.commands.verifying.server_checks import check_answer, check_speech
from serve_app.whole_files import require_folder, write_whole

ON_A_GPU, ON_A_CPU = Path("configs/single_gpu.yaml"), Path("configs/cpu.yaml")
PAGE, LOG, CONFIGURATION = "verify.md", "server.log", "served.yaml"


@dataclass(frozen=True, slots=True)
class Options:
    model: str  # a folder, or a repository of Hugging Face
    config: Path | None = None  # that serves it; None is that of one GPU, or of a CPU
    voice: str = "default"
    output_dir: Path = Path("verify")
    wait_s: float = 1800.0  # that both stages may take to load


def run(options: Options, console: Console) -> int:
    """Every check; gives the exit code, 1 where one fails.

    Raises:
        ConfigError: there is no such model, or the configuration is not there.
    """
    require_folder(options.output_dir, "--output-dir")
    source = options.config or _for_this_machine()
    read_configuration(source)
    files = find_model(options.model)
    findings: list[Finding] = []

    def told(*new: Finding) -> None:
        findings.extend(new)
        for one in new:
            say(console, f"{one.verdict:8}{one.check}: {one.says}")

    told(*check_files(files))
    if not failures(findings):
        told(check_official_parity(files))
        _served(options, source, files, told, console)
    text = page(options.model, findings, environment())
    write_whole(options.output_dir / PAGE, text.encode())
    say(console, f"the page for a report: {options.output_dir / PAGE}")
    return 1 if failures(findings) else 0


def _served(
    options: Options,
    source: Path,
    files: ModelFiles,
    told: Callable[..., None],
    console: Console,
) -> None:
    """What a server of the model shows; one that does not start is a finding, too."""
    config = options.output_dir / CONFIGURATION
    config.write_text(yaml.safe_dump(_configuration(source, files.root)), encoding="utf-8")
    begin = time.monotonic()
    try:
        with _asked(config, options, console) as client:
            loaded_s = time.monotonic() - begin
            told(Finding("both stages load", "pass", f"ready after {loaded_s:.0f} s"))
            model = served_model(client)
            told(*check_speech(client, model, options.voice, options.output_dir))
            told(check_answer(client, model, options.voice, options.output_dir))
    except ConfigError as error:
        told(Finding("both stages load", "fail", str(error)))


@contextmanager
def _asked(config: Path, options: Options, console: Console) -> Iterator[httpx.Client]:
    """A client of a server of `config` that is ready."""
    log = options.output_dir / LOG
    with (
        server(config, log, console) as (url, check),
        httpx.Client(base_url=url, timeout=300, trust_env=False) as client,
    ):
        wait_until_ready(client, options.wait_s, check, console)
        yield client


def _configuration(source: Path, model: Path) -> dict[str, Any]:
    """The configuration with this model, at a free port of this machine, keeping no voices."""
    configuration = read_configuration(source)
    arguments = configuration.arguments | {"model": str(model)}
    arguments.pop("voice_store", None)
    document = dict(configuration.document)
    if "applications" not in document:
        return arguments
    first, *others = document["applications"]
    return document | {
        "http_options": {"host": "127.0.0.1", "port": free_port()},
        "applications": [{**first, "args": arguments}, *others],
    }


def _for_this_machine() -> Path:
    import torch

    return ON_A_GPU if torch.cuda.is_available() else ON_A_CPU
