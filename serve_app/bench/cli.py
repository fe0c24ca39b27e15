"""`step-audio2 bench [speech | token2wav | thinker]`: options in, tables and files out."""

import asyncio
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress
from typer.core import TyperGroup

from deployments.heap import settle_heap
from serve_app.bench import stage_cli
from serve_app.bench.client import Target
from serve_app.bench.inputs import recordings, texts
from serve_app.bench.load import Arrivals, ClosedLoop, Extent, Poisson
from serve_app.bench.measures import RequestTrace
from serve_app.bench.options import json_object, positive_integers, positive_numbers
from serve_app.bench.plot import PlotUnavailable, plot_speech, require_plot
from serve_app.bench.report import JsonFile, print_speech, speech_results
from serve_app.bench.speech import OnLevel, SpeechResult, Workload, bench_speech
from serve_app.server_url import api_url, unused_proxy
from serve_app.terminal import new_console
from serve_app.whole_files import reason

DEFAULT_COMMAND = "speech"


class _SpeechByDefault(TyperGroup):
    """`bench --rate 4` means `bench speech --rate 4`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] != "--help"):
            args = [DEFAULT_COMMAND, *args]
        return super().parse_args(ctx, args)


bench_app = typer.Typer(
    cls=_SpeechByDefault,
    no_args_is_help=False,
    help="Measure an endpoint (speech, the default) or a stage alone.",
)
bench_app.command("token2wav")(stage_cli.token2wav)
bench_app.command("thinker")(stage_cli.thinker)
console = new_console()

JsonPath = Annotated[Path | None, typer.Option("--json", help="Write every figure here.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace the files of --json and --plot.")
]
Seed = Annotated[int, typer.Option(help="Of inputs, their order and arrival times.")]


@bench_app.command()
def speech(
    base_url: Annotated[
        str,
        typer.Option(
            help="Of an OpenAI-compatible server; /v1 is added where there is no path. A proxy of "
            "the environment is not used."
        ),
    ] = "http://127.0.0.1:8000/v1",
    model: Annotated[
        str, typer.Option(help="The model's name at that server.")
    ] = "step-audio-2-mini",
    voice: Annotated[str | None, typer.Option(help="A voice of that server.")] = None,
    concurrency: Annotated[
        str | None, typer.Option(help="Closed loop: clients at once, such as 1,16,64.")
    ] = None,
    rate: Annotated[
        str | None, typer.Option(help="Poisson arrivals: requests a second, such as 2,4.")
    ] = None,
    requests: Annotated[
        int | None, typer.Option(min=1, help="At each level; default 32 without --duration.")
    ] = None,
    duration: Annotated[
        float | None, typer.Option(min=0.1, help="Seconds in which requests are started.")
    ] = None,
    warmup: Annotated[
        int | None,
        typer.Option(min=0, help="Uncounted requests before each level; default: its clients."),
    ] = None,
    speech_share: Annotated[
        float, typer.Option(min=0, max=1, help="Share of requests that bring a recording.")
    ] = 0.0,
    audio: Annotated[
        list[Path] | None,
        typer.Option(exists=True, dir_okay=False, help="Recordings; default: synthetic."),
    ] = None,
    text: Annotated[
        list[str] | None, typer.Option(help="Texts to speak; default: a fixed mix of sentences.")
    ] = None,
    texts_by_chat: Annotated[
        bool, typer.Option(help="Send texts to chat completions, not to /audio/speech.")
    ] = False,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="max_completion_tokens of chat completions.")
    ] = None,
    extra_body: Annotated[
        str, typer.Option(help="JSON object merged into every request's body.")
    ] = "{}",
    prebuffer: Annotated[
        float, typer.Option(min=0, help="Seconds of audio held before playback starts.")
    ] = 0.0,
    timeout: Annotated[float, typer.Option(help="Seconds without a byte.")] = 300.0,
    own_overhead: Annotated[
        bool, typer.Option(help="First measure the client against a trivial server.")
    ] = True,
    seed: Seed = 0,
    json_path: JsonPath = None,
    plot_path: Annotated[Path | None, typer.Option("--plot", help="Draw a PNG here.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Drive an endpoint and report what a listener would notice.

    The server's key, if it wants one, is read from OPENAI_API_KEY.
    """
    figures = JsonFile(json_path, overwrite=overwrite)
    if plot_path is not None:
        try:
            require_plot(plot_path, overwrite=overwrite)
        except PlotUnavailable as error:
            raise typer.BadParameter(str(error), param_hint="--plot") from error
    target = Target(
        api_url(base_url),
        model,
        voice,
        os.environ.get("OPENAI_API_KEY"),
        texts_by_chat,
        max_tokens,
        timeout,
        json_object(extra_body, "--extra-body"),
    )
    if proxy := unused_proxy(target.base_url):
        console.print(proxy, markup=False)
    workload = Workload(
        texts=texts(text or ()),
        recordings=recordings(audio or (), seed),
        speech_share=speech_share,
        extent=Extent(32 if requests is None and duration is None else requests, duration),
        warm_up=warmup,
        seed=seed,
        prebuffer_s=prebuffer,
    )
    levels = _levels(concurrency, rate)
    settings: dict[str, Any] = asdict(replace(target, api_key=None)) | {
        "requests": workload.extent.requests,
        "duration_s": duration,
        "warm_up": warmup,
        "speech_share": speech_share,
        "recordings": [recording.name for recording in workload.recordings],
        "texts": len(workload.texts),
        "prebuffer_s": prebuffer,
        "seed": seed,
    }

    def save(so_far: SpeechResult) -> None:
        figures.write("speech", settings, speech_results(so_far, prebuffer))

    result = _run_with_progress(target, workload, levels, save, own_overhead=own_overhead)
    print_speech(console, result.levels, result.overhead)
    failures = [figures.failure] if figures.failure else []
    if plot_path is not None:
        try:
            plot_speech(result.levels, plot_path)
        except OSError as error:
            failures.append(f"--plot {plot_path} cannot be written: {reason(error)}")
    if all(level.summary.failed == level.summary.requests for level in result.levels):
        failures.append("No request succeeded.")
    for failure in failures:
        console.print(failure, style="red", markup=False, soft_wrap=True)
    if failures:
        raise typer.Exit(1)


def _run_with_progress(
    target: Target,
    workload: Workload,
    levels: list[Arrivals],
    on_level: OnLevel,
    *,
    own_overhead: bool,
) -> SpeechResult:
    with Progress(console=console, transient=True) as progress:
        tasks = {
            level: progress.add_task(level.label, total=workload.extent.requests)
            for level in levels
        }

        def on_request(level: Arrivals, trace: RequestTrace | None) -> None:
            if trace is None:
                progress.update(tasks[level], description=f"{level.label} (warming up)")
            else:
                progress.update(tasks[level], description=level.label, advance=1)

        measuring = bench_speech(
            target,
            workload,
            levels,
            own_overhead=own_overhead,
            on_request=on_request,
            on_level=on_level,
        )
        settle_heap()  # a full collection here would be a gap in every stream: 0.14 s
        with asyncio.Runner(loop_factory=_fast_loop) as runner:
            return runner.run(measuring)


def _fast_loop() -> asyncio.AbstractEventLoop:
    """uvloop's where it is installed: it follows about twice as many streams."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _levels(concurrency: str | None, rate: str | None) -> list[Arrivals]:
    if concurrency is None and rate is None:
        concurrency = "1"
    clients = positive_integers(concurrency, "--concurrency") if concurrency else []
    rates = positive_numbers(rate, "--rate") if rate else []
    return [*(ClosedLoop(n) for n in clients), *(Poisson(r) for r in rates)]
