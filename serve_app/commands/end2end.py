"""`step-audio2 end2end`: start the graph, run all prompts through it, stop it again."""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from deployments.errors import ConfigError
from deployments.model_files import SHIPPED, find_model
from deployments.token2wav.configured_voices import DEFAULT_VOICE_VARIABLE, SHIPPED_VOICE
from deployments.weight_files import one_line
from serve_app.commands.config_file import read_configuration
from serve_app.commands.console import say
from serve_app.commands.outputs import choose_folder, delete_earlier_files
from serve_app.commands.preflight import require_cluster, require_model, require_ray_folder
from serve_app.commands.prompt_statistics import statistics_table
from serve_app.commands.prompts import Job, PromptRun, QueryType, Result, run_prompts
from serve_app.commands.recordings import find_recordings
from serve_app.config import AppConfig
from serve_app.graph.backend import Backend

APP_NAME = "step-audio2-end2end"
CONFIGS = SHIPPED / "configs"
NAMED_LEFT_OUT = 5
DEFAULT_TEXT = "A little horse drank some water before breakfast."


@dataclass(frozen=True, slots=True)
class Options:
    """The command's options, under their own names."""

    query_type: QueryType
    audio_path: list[str] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    question: str | None = None
    model: str | None = None
    stage_configs_path: Path | None = None
    num_prompts: int = 1
    max_tokens: int | None = None
    output_dir: Path | None = None  # None: `output_step_audio2`, numbered where that is taken
    overwrite: bool = False
    enable_stats: bool = False
    ray_address: str | None = None
    concurrency: int = 16


def run(options: Options, console: Console) -> int:
    """The whole command; gives the exit code: 1 if any prompt failed.

    Raises:
        ConfigError: a path, the configuration or the model is not there or damaged, or Ray cannot
            start as the environment has it.
        ResultsNotWritten: the disk is full.
    """
    jobs = make_jobs(options, lambda files: say(console, left_out_line(files)))
    folder = choose_folder(options.output_dir, overwrite=options.overwrite)
    config = _config_with_ray(options, console)
    prompts = PromptRun(options.query_type, folder, options.question, options.max_tokens)
    with asyncio.Runner() as runner:  # Serve's handles need this loop until they are shut down
        try:
            say(console, f"model {config.model}, {len(jobs)} prompts; starting the stages …")
            start_graph(config)
            delete_earlier_files(folder)  # those that `choose_folder` let pass
            results, wall_s = runner.run(_run_on_graph(prompts, jobs, config, options, console))
        finally:
            stop(options.ray_address, runner)
    if options.enable_stats:
        console.print(statistics_table(results, wall_s))
    say(console, f"{summary(results)}: {folder}")
    return 1 if any(result.error is not None for result in results) else 0


def _config_with_ray(options: Options, console: Console) -> AppConfig:
    """Start Ray or join it. What is wrong shows before: starting takes seconds, the stages more."""
    if options.ray_address is None:
        config = make_config(options, gpus_here)
        require_model(config)
        require_ray_folder()
        say(console, "starting Ray …")
        start_ray(None)
        return config
    if options.stage_configs_path is not None:
        make_config(options, lambda: 0)
    require_cluster(options.ray_address)
    say(console, f"joining the cluster {options.ray_address} …")
    gpus = start_ray(options.ray_address)
    return make_config(options, lambda: gpus)


def summary(results: list[Result]) -> str:
    """How many are done, and how many of those are not whole."""
    done = [result for result in results if result.error is None]
    cut = sum(result.cut for result in done)
    line = f"{len(done)} of {len(results)} done"
    return f"{line}, {cut} of them cut at the token limit" if cut else line


def make_jobs(
    options: Options, on_left_out: Callable[[list[str]], None] = lambda files: None
) -> list[Job]:
    """Every prompt, `num_prompts` times; `on_left_out` gets what in a folder is no recording.

    Raises:
        ConfigError: an audio path that leads to no recording, or a text that is no Unicode.
    """
    if options.question is not None:
        require_text(options.question, "--question")
    if options.query_type.listens:
        found = [find_recordings(path) for path in options.audio_path or [str(SHIPPED_VOICE)]]
        sources = [file for one in found for file in one.recordings]
        if left_out := [file for one in found for file in one.left_out]:
            on_left_out(left_out)
    else:
        sources = options.text or [DEFAULT_TEXT]
        for text in sources:
            require_text(text, "--text")
    return [Job(index, source) for index, source in enumerate(sources * options.num_prompts)]


def require_text(text: str, option: str) -> None:
    """Raise ConfigError where a shell passed bytes that are no text, or nothing to say."""
    if not any(character.isalnum() for character in text):
        raise ConfigError(f"{option} has no letter and no digit")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(f"{option} is no Unicode at character {error.start}") from error


def left_out_line(files: list[str]) -> str:
    """The first few by name, the others by their number."""
    named = ", ".join(files[:NAMED_LEFT_OUT])
    more = len(files) - NAMED_LEFT_OUT
    return f"left out, no recordings: {named}" + (f" and {more} more" if more > 0 else "")


def make_config(options: Options, count_gpus: Callable[[], float]) -> AppConfig:
    """The graph's configuration: that of the named file, or the one for the GPUs of this machine.

    A run without speech starts no Token2Wav.

    Raises:
        ConfigError: the file cannot be read, or names no model that is there.
    """
    path = options.stage_configs_path or default_config(count_gpus())
    arguments = read_configuration(path).arguments
    if options.model is not None:
        arguments["model"] = options.model
    if not options.query_type.speaks:
        arguments["token2wav"] = None
    elif arguments.get("token2wav", {}) is None:
        raise ConfigError(f"{path} has no Token2Wav, which speech needs")
    elif voice := os.environ.get(DEFAULT_VOICE_VARIABLE):
        # The stages may run where this shell's environment is not known.
        arguments.setdefault("token2wav", {}).setdefault(
            "default_voice", str(Path(voice).resolve())
        )
    if options.ray_address is None:
        arguments["model"] = str(find_model(str(arguments.get("model", ""))).root)
    return AppConfig.model_validate(arguments)


def default_config(gpus: float) -> Path:
    """The shipped configuration for a machine with that many GPUs."""
    name = "cpu.yaml" if gpus < 1 else "single_gpu.yaml" if gpus < 2 else "two_gpus.yaml"
    return CONFIGS / name


def gpus_here() -> int:
    """How many GPUs this machine has."""
    import torch

    return torch.cuda.device_count()


def start_ray(address: str | None) -> float:
    """Join the cluster at `address`, or start one in this machine; gives its number of GPUs.

    Raises:
        ConfigError: there is none to join, or none can be started.
    """
    import ray

    try:
        ray.init(address=address or "local", log_to_driver=False, logging_level="error")
    except ConnectionError as error:
        raise ConfigError(f"there is no Ray cluster at {address!r}: {one_line(error)}") from error
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigError(f"Ray does not start: {one_line(error)}") from error
    return float(ray.cluster_resources().get("GPU", 0))


def start_graph(config: AppConfig) -> None:
    """Run the graph of `config`, without an HTTP route.

    Raises:
        ConfigError: a stage failed to start.
    """
    from ray import serve

    from serve_app.app import app

    logging.getLogger("ray.serve").setLevel(logging.WARNING)  # its import has set it to INFO
    serve.start(proxy_location="Disabled")
    try:
        serve.run(app(config), name=APP_NAME, route_prefix=None)
    except RuntimeError as error:
        raise ConfigError(f"the graph did not start: {why_it_failed(error)}") from error


def why_it_failed(error: Exception) -> str:
    """The last line that a stage wrote before it gave up, out of Serve's account of it."""
    from ray import serve

    application = serve.status().applications.get(APP_NAME)
    accounts = [d.message for d in application.deployments.values()] if application else []
    lines = [line for account in accounts for line in account.splitlines() if "Error" in line]
    return lines[-1].strip() if lines else one_line(error)


def graph_backend(config: AppConfig) -> Backend:
    """The running graph; to be called inside the event loop that will use it."""
    from ray import serve

    from serve_app.graph.handles import ServeBackend

    speaks = config.token2wav is not None
    return ServeBackend(
        serve.get_deployment_handle("Thinker", APP_NAME),
        serve.get_deployment_handle("Token2Wav", APP_NAME) if speaks else None,
        config.recovery,
    )


def stop(address: str | None, runner: asyncio.Runner) -> None:
    """Take the graph away; a cluster that was there before stays."""
    import ray
    from ray import serve

    if address is None:
        runner.run(serve.shutdown_async())
    else:
        serve.delete(APP_NAME)
    ray.shutdown()


async def _run_on_graph(
    prompts: PromptRun, jobs: list[Job], config: AppConfig, options: Options, console: Console
) -> tuple[list[Result], float]:
    backend = graph_backend(config)
    begin = time.perf_counter()
    with progress_bar(console, len(jobs)) as advance:

        def on_result(result: Result) -> None:
            if result.error is not None:
                say(console, f"{result.source}: {result.error}")
            elif result.cut:
                limit = f"{result.completion_tokens} tokens"
                say(console, f"{result.source}: the answer was cut at its limit of {limit}")
            advance()

        results = await run_prompts(
            prompts, jobs, backend, concurrency=options.concurrency, on_result=on_result
        )
    return results, time.perf_counter() - begin


@contextmanager
def progress_bar(console: Console, total: int) -> Iterator[Any]:
    """A bar of `total` steps; gives the function that advances it by one."""
    columns = (TextColumn("prompts"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=total)
        yield lambda: progress.advance(task)
