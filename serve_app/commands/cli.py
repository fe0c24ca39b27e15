"""The command line `step-audio2`: declarations only; each command's module does the work."""

import sys
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

from deployments.errors import StepAudioError
from serve_app.bench.cli import bench_app
from serve_app.commands.console import say
from serve_app.terminal import encodable, new_console
from serve_app.whole_files import reason

cli = typer.Typer(
    name="step-audio2",
    help="Step-Audio 2: speech to text, text to speech, speech to speech.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
cli.add_typer(bench_app, name="bench")
console = new_console()


@cli.command("make-checkpoint")
def make_checkpoint(
    directory: Annotated[Path, typer.Argument(help="Where the model directory is written.")],
    size: Annotated[
        Literal["tiny", "full"],
        typer.Option(help="`tiny` is under 30 MB; `full` has the published dimensions."),
    ],
    seed: Annotated[int, typer.Option(help="Of the random weights.")] = 0,
    llm_weights: Annotated[
        bool, typer.Option(help="Without them vLLM makes its own (load_format: dummy).")
    ] = True,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the model that the directory holds.")
    ] = False,
) -> None:
    """Write a complete model directory with random weights: it makes noise, not speech."""
    from serve_app.checkpoint import make_checkpoint as make

    with console.status("starting") as status:

        def on_progress(what: str) -> None:
            status.update(f"writing {what}")
            if not console.is_terminal:
                say(console, f"writing {what}")

        make(
            directory,
            size=size,
            seed=seed,
            llm_weights=llm_weights,
            overwrite=overwrite,
            on_progress=on_progress,
        )
    say(console, f"wrote a {size} checkpoint of random weights: {directory}")


@cli.command()
def end2end(
    query_type: Annotated[
        Literal["audio_to_text", "text_to_audio", "audio_to_audio"],
        typer.Option(help="What goes in and what comes out."),
    ] = "audio_to_text",
    audio_path: Annotated[
        list[str] | None,
        typer.Option(help="A recording, a folder of them or a pattern; may be repeated."),
    ] = None,
    text: Annotated[list[str] | None, typer.Option(help="What to speak; may be repeated.")] = None,
    question: Annotated[
        str | None, typer.Option(help="Asked about the recording, instead of a transcript.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="A model directory or a Hugging Face repository.")
    ] = None,
    stage_configs_path: Annotated[
        Path | None,
        typer.Option(help="A configuration; by default the one in configs/ that fits the GPUs."),
    ] = None,
    num_prompts: Annotated[int, typer.Option(min=1, help="How many times each prompt is run.")] = 1,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="The longest answer, in tokens.")
    ] = None,
    output_dir: Annotated[
        Path | None,
        typer.Option(
            help="Where texts and WAVs are written; by default output_step_audio2, with a number "
            "behind it where an earlier run has used it."
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Delete what an earlier run wrote there.")
    ] = False,
    enable_stats: Annotated[bool, typer.Option(help="Print TTFA, RTF and tokens.")] = False,
    worker_backend: Annotated[
        Literal["ray"], typer.Option(help="The stages always run in Ray.")
    ] = "ray",
    ray_address: Annotated[
        str | None, typer.Option(help="A running cluster, `auto` for this machine's own.")
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Prompts in the graph at once.")] = 16,
) -> None:
    """Run many prompts through the whole graph, without HTTP."""
    from serve_app.commands import end2end as command
    from serve_app.commands.prompts import QueryType

    kind = QueryType(query_type)
    for option, given, meant in (
        ("--audio-path", audio_path, kind.listens),
        ("--question", question, kind.listens),
        ("--text", text, not kind.listens),
    ):
        if given and not meant:
            raise typer.BadParameter(f"{option} has no meaning for --query-type {query_type}")
    options = command.Options(
        query_type=kind,
        audio_path=audio_path or [],
        text=text or [],
        question=question,
        model=model,
        stage_configs_path=stage_configs_path,
        num_prompts=num_prompts,
        max_tokens=max_tokens,
        output_dir=output_dir,
        overwrite=overwrite,
        enable_stats=enable_stats,
        ray_address=ray_address,
        concurrency=concurrency,
    )
    raise typer.Exit(command.run(options, console))


@cli.command()
def batch(
    lines: Annotated[Path, typer.Argument(help="Requests, one a line, in OpenAI's batch format.")],
    answers: Annotated[Path, typer.Argument(help="Their answers; a run that was ended goes on.")],
    base_url: Annotated[str, typer.Option(help="A running server.")] = "http://127.0.0.1:8000",
    concurrency: Annotated[int, typer.Option(min=1, help="Requests in the server at once.")] = 16,
    recordings: Annotated[
        Path | None,
        typer.Option(help="The folder of the recordings that lines name; by default the lines'."),
    ] = None,
    start: Annotated[
        Path | None, typer.Option(help="Run the server of this configuration meanwhile.")
    ] = None,
    wait_s: Annotated[
        float, typer.Option(help="How long the server may be absent, also at the start.")
    ] = 600,
    api_key: Annotated[str | None, typer.Option(envvar="OPENAI_API_KEY")] = None,
) -> None:
    """Answer a file of requests, as work that lets live requests go first."""
    from contextlib import nullcontext

    from serve_app.commands.batch import command
    from serve_app.commands.serving.session import ends_in_order

    options = command.Options(
        lines=lines,
        answers=answers,
        base_url=base_url,
        api_key=api_key,
        concurrency=concurrency,
        recordings=recordings,
        start=start,
        wait_s=wait_s,
    )
    with ends_in_order() if start else nullcontext():
        status = command.run(options, console)
    raise typer.Exit(status)


@cli.command()
def serve(
    config: Annotated[Path, typer.Argument(help="A configuration, such as configs/cpu.yaml.")],
    host: Annotated[
        str | None, typer.Option(help="Where it listens, instead of what the configuration says.")
    ] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Likewise.")] = None,
) -> None:
    """Serve a configuration until Ctrl-C: what is wrong shows at once, and nothing stays behind.

    Ray is started on this machine, or joined where RAY_ADDRESS names a cluster.
    """
    from serve_app.commands.serving.command import run
    from serve_app.commands.serving.session import end_as

    end_as(run(config, console, host, port))


@cli.command()
def metrics(
    form: Annotated[
        Literal["table", "dashboard", "alerts"],
        typer.Argument(help="Markdown, a Grafana dashboard in JSON, or Prometheus' rules in YAML."),
    ] = "table",
) -> None:
    """Print what the server's metrics are, or what is made of them for Grafana and Prometheus."""
    from serve_app.commands.dashboards.command import text_of

    print(text_of(form), end="")


@cli.command()
def top(
    dashboard: Annotated[
        str, typer.Option(envvar="RAY_DASHBOARD_ADDRESS", help="Ray's, of a running cluster.")
    ] = "http://127.0.0.1:8265",
    application: Annotated[
        str | None, typer.Option(help="Its name, where the cluster serves several.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Show it once.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, once.")] = False,
    every_s: Annotated[float, typer.Option(min=0.5, help="How often it is shown anew.")] = 5,
) -> None:
    """Show a running cluster: replicas, streams, headroom, late chunks, GPUs, refusals, resumes."""
    from serve_app.commands.top import command

    command.run(command.Options(dashboard, application, once, as_json, every_s), console)


@cli.command()
def plan(
    listeners: Annotated[int, typer.Argument(min=1, help="Who hear answers at one moment.")],
    gpu: Annotated[str, typer.Option(help="The kind; an unknown one is told which are known.")],
    gpus: Annotated[int | None, typer.Option(min=1, help="How many there are.")] = None,
    spare: Annotated[int, typer.Option(min=0, help="That may be lost; 1 is N+1.")] = 1,
    without_gap: Annotated[
        float, typer.Option(min=50, max=100, help="Per cent of the answers without a gap.")
    ] = 98,
    refused: Annotated[
        float, typer.Option(min=0, max=50, help="Per cent of the answers that may be refused.")
    ] = 1,
    form: Annotated[
        Literal["report", "serve", "rayservice"],
        typer.Option(help="Words, a configuration for Ray Serve, or a manifest for KubeRay."),
    ] = "report",
) -> None:
    """Say how many GPUs and replicas so many listeners need, by what was measured."""
    from serve_app.commands.planning.command import text_of
    from serve_app.commands.planning.measured import Goal
    from serve_app.commands.planning.sizing import Wanted

    goal = Goal(without_gap=without_gap / 100, refused=refused / 100)
    print(text_of(Wanted(listeners, gpu, spare, goal), gpus, form), end="")


@cli.command()
def verify(
    model: Annotated[str, typer.Argument(help="A folder, or a repository of Hugging Face.")],
    config: Annotated[
        Path | None,
        typer.Option(help="What serves it; else configs/single_gpu.yaml, without a GPU cpu.yaml."),
    ] = None,
    voice: Annotated[str, typer.Option(help="The voice that speaks.")] = "default",
    output_dir: Annotated[
        Path, typer.Option(help="Where the page, the sound and the log are written.")
    ] = Path("verify"),
    wait_s: Annotated[float, typer.Option(help="How long the stages may take to load.")] = 1800,
) -> None:
    """Check a checkpoint: its files, the official package's sound, what it says, how soon."""
    from serve_app.commands.serving.session import ends_in_order
    from serve_app.commands.verifying import command

    with ends_in_order():
        status = command.run(command.Options(model, config, voice, output_dir, wait_s), console)
    raise typer.Exit(status)


@cli.command()
def demo(
    base_url: Annotated[str, typer.Option(help="A running server.")] = "http://127.0.0.1:8000",
    audio_path: Annotated[
        Path | None, typer.Option(help="A recording to transcribe and to answer.")
    ] = None,
    text: Annotated[str | None, typer.Option(help="A sentence to speak.")] = None,
    voice: Annotated[str, typer.Option(help="The voice that speaks.")] = "default",
    output_dir: Annotated[Path, typer.Option(help="Where the WAVs are written.")] = Path("demo"),
    start: Annotated[
        Path | None, typer.Option(help="Run the server of this configuration meanwhile.")
    ] = None,
    wait_s: Annotated[float, typer.Option(help="How long the server may take to start.")] = 600,
    api_key: Annotated[str | None, typer.Option(envvar="OPENAI_API_KEY")] = None,
) -> None:
    """Send a server real requests: transcribe, answer speech with speech, speak and listen."""
    from serve_app.commands import demo as command
    from serve_app.commands.serving.session import ends_in_order

    options = command.Options(
        base_url=base_url,
        audio_path=audio_path or command.SHIPPED_VOICE,
        text=text or command.SENTENCE,
        voice=voice,
        output_dir=output_dir,
        start=start,
        wait_s=wait_s,
        api_key=api_key,
    )
    with ends_in_order():
        status = command.run(options, console)
    raise typer.Exit(status)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; an error of ours, or of a path or a disk, is one line."""
    try:
        cli(arguments)
    except StepAudioError as error:
        _end(str(error))
    except OSError as error:  # such as a path that is too long
        _end(f"{error.filename}: {reason(error)}" if error.filename else reason(error))


def _end(complaint: str) -> NoReturn:
    line = f"step-audio2: {complaint}"
    print(encodable(line, sys.stderr.encoding), file=sys.stderr)
    sys.exit(2)
