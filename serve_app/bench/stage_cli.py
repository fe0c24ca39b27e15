"""`bench token2wav` and `bench thinker`: options in, tables and JSON out.

The engines are imported when a command runs: `--help` needs neither torch nor vLLM.
"""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.status import Status
from rich.table import Table

from deployments.errors import StepAudioError
from deployments.model_files import find_model
from serve_app.bench.options import json_object, positive_integers
from serve_app.bench.report import JsonFile
from serve_app.terminal import new_console

if TYPE_CHECKING:
    from deployments.token2wav.token2wav_config import Token2WavConfig

console = new_console()

Model = Annotated[str, typer.Option(help="A model directory or a Hugging Face repository.")]
JsonPath = Annotated[Path | None, typer.Option("--json", help="Write every figure here.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the file of --json.")]
Seed = Annotated[int, typer.Option(help="Of the tokens and of the noise.")]


def token2wav(
    model: Model,
    engines: Annotated[
        str,
        typer.Option(
            help="Measured in this order. native: what serves on this device; reference: the "
            "official package; functional: ours without captured graphs, on a CPU the same as "
            "native; or module:Class."
        ),
    ] = "native,reference",
    batches: Annotated[str, typer.Option(help="Streams a step.")] = "1,8,32",
    chunk_tokens: Annotated[str, typer.Option(help="Tokens a chunk; 25 are a second.")] = "25",
    steps: Annotated[int, typer.Option(min=1, help="Counted steps of each stream.")] = 20,
    warmup: Annotated[int, typer.Option(min=0, help="Steps before, history filled.")] = 4,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option()] = "auto",
    dtype: Annotated[
        Literal["auto", "float32", "float16"], typer.Option(help="auto: float16 on a GPU.")
    ] = "auto",
    voice: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Default: the model's voice.")
    ] = None,
    settings: Annotated[
        str,
        typer.Option(help="JSON: of the configuration's `token2wav`, for native and reference."),
    ] = "{}",
    load_options: Annotated[
        str, typer.Option(help="JSON: fields of `EngineOptions`, for functional and module:Class.")
    ] = "{}",
    seed: Seed = 0,
    json_path: JsonPath = None,
    overwrite: Overwrite = False,
) -> None:
    """Time Token2Wav's steps alone, the official package beside ours where it can be imported.

    The official package serves one stream at a time, so it is measured with one only.
    """
    json_file = JsonFile(json_path, overwrite=overwrite)
    sizes = positive_integers(chunk_tokens, "--chunk-tokens")
    streams = positive_integers(batches, "--batches")
    more = json_object(load_options, "--load-options")
    import torch

    from deployments.token2wav.configured_voices import voice_files
    from serve_app.bench.stages.token2wav import (
        BatchShape,
        EngineFigures,
        engine_loader,
        measure_engine,
    )

    files = find_model(model)
    files.require(thinker=False)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if dtype == "auto":
        dtype = "float16" if device == "cuda" else "float32"
    own_options = {
        "device": device,
        "dtype": dtype,
        "seed": seed,
        "default_voice": str(voice) if voice else None,
    }
    config = _section(json_object(settings, "--settings"), own_options)
    recording = voice_files(config, files)["default"]
    measured_with = {
        "model": model,
        "voice": recording.name,
        "token2wav": config.model_dump(mode="json", exclude_unset=True),
        "device": device,
        "dtype": dtype,
        "steps": steps,
        "warm_up": warmup,
        "load_options": more,
        "seed": seed,
    }
    results: list[EngineFigures] = []
    for name in engines.split(","):
        alone = name == "reference"
        shapes = [BatchShape(n, size) for size in sizes for n in ([1] if alone else streams)]
        with console.status(f"{name}: loading") as status:
            try:
                figures = measure_engine(
                    name,
                    engine_loader(name, files.token2wav, config, more),
                    recording.read_bytes(),
                    shapes,
                    steps=steps,
                    warm_up=warmup,
                    seed=seed,
                    on_shape=partial(_show, status, name),
                )
            except (StepAudioError, ValueError) as error:
                figures = EngineFigures(name, failure=str(error))
        results.append(figures)
        _save(json_file, "token2wav", measured_with, results)
    _print_token2wav(results)
    _say_failure(json_file)
    if json_file.failure or all(figures.failure for figures in results):
        raise typer.Exit(1)


def thinker(
    model: Model,
    batches: Annotated[str, typer.Option(help="Requests that start together.")] = "1,8,32",
    tokens: Annotated[str, typer.Option(help="Tokens an answer, text and audio.")] = "315",
    audio_seconds: Annotated[
        float, typer.Option(min=0, help="Ask with synthetic speech this long; 0: with a text.")
    ] = 0.0,
    forced: Annotated[
        bool, typer.Option(help="Force the shape of speech; needed for random weights.")
    ] = True,
    repeat: Annotated[int, typer.Option(min=1, help="Runs of each batch; the last counts.")] = 2,
    engine_kwargs: Annotated[str, typer.Option(help="JSON: arguments for vLLM's engine.")] = "{}",
    json_path: JsonPath = None,
    overwrite: Overwrite = False,
) -> None:
    """Time the Thinker alone: first chunk, milliseconds a token, tokens a second."""
    json_file = JsonFile(json_path, overwrite=overwrite)
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")  # read when vLLM is imported
    from deployments.thinker.engine import VllmEngine
    from deployments.thinker.thinker_config import ThinkerConfig
    from serve_app.bench.stages.thinker import FORCED_SPEECH, ThinkerFigures, measure_thinker

    chosen = json_object(engine_kwargs, "--engine-kwargs")
    if forced:
        chosen["logits_processors"] = [*chosen.get("logits_processors", ()), FORCED_SPEECH]
    counts = positive_integers(batches, "--batches")
    lengths = positive_integers(tokens, "--tokens")
    config = ThinkerConfig.model_validate({"engine_kwargs": chosen})
    files = find_model(model)
    files.require(token2wav=False, weights=config.reads_weights)

    settings = {
        "model": model,
        "audio_seconds": audio_seconds,
        "forced": forced,
        "repeat": repeat,
        "engine_kwargs": chosen,
    }

    async def measure() -> list[ThinkerFigures]:
        engine = VllmEngine(files, config)
        found = []
        try:
            with console.status("loading vLLM") as status:
                await engine.start()
                for length in lengths:
                    for count in counts:
                        status.update(f"{count} requests of {length} tokens")
                        for run in range(repeat):
                            figures = await measure_thinker(
                                engine,
                                count,
                                length,
                                audio_seconds=audio_seconds,
                                salt=f"{length}.{count}.{run}.",
                            )
                        found.append(figures)
                        _save(json_file, "thinker", settings, found)
        finally:
            engine.close()
        return found

    try:
        results = asyncio.run(measure())
    except (StepAudioError, ValueError) as error:
        console.print(str(error), style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    _print_thinker(results)
    _say_failure(json_file)
    if json_file.failure:
        raise typer.Exit(1)


def _section(settings: dict[str, Any], own_options: dict[str, Any]) -> "Token2WavConfig":
    """The configuration's section, of `--settings` and of what has options of its own."""
    from deployments.token2wav.token2wav_config import Token2WavConfig

    option = "--settings"
    if twice := settings.keys() & {"engine", *own_options}:
        message = f"{', '.join(sorted(twice))}: there is an option for it"
        raise typer.BadParameter(message, param_hint=option)
    try:
        return Token2WavConfig.model_validate(settings | own_options)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from error


def _show(status: Status, engine: str, shape: Any) -> None:
    status.update(f"{engine}: {shape.streams} streams, {shape.chunk_tokens} tokens a chunk")


def _print_token2wav(results: list[Any]) -> None:
    table = Table(title="Token2Wav: time of a step")
    for heading in ("engine", "streams", "tokens", "p50 ms", "p99 ms", "audio-s/s", "first ms"):
        table.add_column(heading, justify="left" if heading == "engine" else "right")
    for figures in results:
        for batch in figures.batches:
            table.add_row(
                figures.engine,
                str(batch.shape.streams),
                str(batch.shape.chunk_tokens),
                f"{1000 * batch.step_s.p50:.1f}",
                f"{1000 * batch.step_s.p99:.1f}",
                f"{batch.audio_s_per_s:.1f}",
                f"{1000 * batch.first_step_s:.1f}",
            )
    console.print(table)
    for figures in results:
        if figures.failure:
            console.print(f"{figures.engine}: not measured: {figures.failure}")
            continue
        peaks = [b.peak_gpu_mib for b in figures.batches if b.peak_gpu_mib is not None]
        memory = f", at most {max(peaks):.0f} MiB of GPU memory" if peaks else ""
        console.print(
            f"{figures.engine} ({figures.engine_class}): loaded in {figures.load_s:.1f} s; "
            f"a voice took {1000 * figures.first_voice_s:.0f} ms, "
            f"then {1000 * figures.next_voice_s:.0f} ms{memory}."
        )
        for shape in figures.left_out:
            console.print(
                f"{figures.engine}: {shape.streams} streams of {shape.chunk_tokens} tokens not "
                f"measured: it holds {figures.max_streams}. On a GPU that follows from "
                '--settings \'{"gpu": {"memory_gb": …}}\'.',
                markup=False,
            )


def _print_thinker(results: list[Any]) -> None:
    table = Table(title="Thinker: requests that start together")
    for heading in ("requests", "tokens", "first chunk ms", "latency s", "ms/token", "tokens/s"):
        table.add_column(heading, justify="right")
    for figures in results:
        table.add_row(
            str(figures.requests),
            f"{figures.tokens_each:g}",
            f"{1000 * figures.first_chunk_s.p50:.0f}",
            f"{figures.latency_s.p50:.2f}",
            f"{figures.ms_per_token:.2f}",
            f"{figures.tokens_per_s:.0f}",
        )
    console.print(table)


def _save(json_file: JsonFile, kind: str, settings: dict[str, Any], results: Sequence[Any]) -> None:
    json_file.write(kind, settings, {"results": [asdict(one) for one in results]})


def _say_failure(json_file: JsonFile) -> None:
    if json_file.failure:
        console.print(json_file.failure, style="red", markup=False, soft_wrap=True)
