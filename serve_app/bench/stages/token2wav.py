"""`bench token2wav`: how long one synthesis step takes for how many streams.

Every engine gets the same voice, the same tokens and the same batches in the same run. A step is
timed from the call to the last stream's PCM in host memory. The first `warm_up` steps of each
stream are not counted: they fill its history to the length that it keeps from then on.

`native` and `reference` are what the deployment would run for a configuration, found by the same
function: on a GPU `native` is the resident engine, on a CPU the functional one. `functional` is
that one on either.
"""

import gc
import importlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from deployments.messages import OUTPUT_SAMPLE_RATE_HZ
from deployments.token2wav import engines
from deployments.token2wav.contract import StepEngine, StepInput
from deployments.token2wav.token2wav_config import Token2WavConfig
from deployments.token2wav.voice_preparation import place_whole
from serve_app.bench.measures import Percentiles, percentiles

T = TypeVar("T")
SERVED: tuple[Literal["native", "reference"], ...] = ("native", "reference")
FUNCTIONAL = "functional"
FUNCTIONAL_CLASS = "deployments.token2wav.functional.functional_engine:FunctionalEngine"
BYTES_PER_SAMPLE = 2


@dataclass(frozen=True, slots=True)
class BatchShape:
    """`streams` at once, each with chunks of `chunk_tokens`."""

    streams: int
    chunk_tokens: int


@dataclass(frozen=True, slots=True)
class BatchFigures:
    """Steps of one shape, the history at its steady length."""

    shape: BatchShape
    first_step_s: float  # opening every stream and its first chunk, everything already warm
    step_s: Percentiles
    audio_s_per_s: float  # all audio ÷ all time of the counted steps
    peak_gpu_mib: float | None  # since the engine began to load; None without a GPU


@dataclass(frozen=True, slots=True)
class EngineFigures:
    """One engine's results; `batches` is empty where `failure` says why."""

    engine: str
    engine_class: str = ""  # what its name meant here
    load_s: float = 0.0
    first_voice_s: float = 0.0
    next_voice_s: float = 0.0
    batches: tuple[BatchFigures, ...] = ()
    left_out: tuple[BatchShape, ...] = ()  # more streams than the engine holds
    max_streams: int = 0
    failure: str | None = None


def engine_loader(
    name: str, token2wav_dir: Path, config: Token2WavConfig, options: Mapping[str, Any]
) -> Callable[[], StepEngine]:
    """What loads the engine called `name`.

    Args:
        name: `native` or `reference`, as the deployment runs it for `config` with that engine;
            `functional`, or any other as `module:Class`.
        options: fields of `EngineOptions` that `functional` and the like get instead of `config`'s.

    Raises:
        ConfigError: it cannot be had here.
        ValueError: there is no such engine.
    """
    for served in SERVED:
        if name == served:
            return engines.load_engine(token2wav_dir, config.model_copy(update={"engine": served}))
    module, separator, cls = (FUNCTIONAL_CLASS if name == FUNCTIONAL else name).partition(":")
    if not separator:
        names = ", ".join((*SERVED, FUNCTIONAL))
        raise ValueError(f"no engine {name!r}: {names} or module:Class")
    engine_class = getattr(importlib.import_module(module), cls)
    described = engines.engine_options(token2wav_dir, config)
    return partial(engine_class.load, replace(described, **options))


def measure_engine(
    name: str,
    load: Callable[[], StepEngine],
    voice: bytes,
    shapes: Sequence[BatchShape],
    *,
    steps: int,
    warm_up: int,
    seed: int = 0,
    on_shape: Callable[[BatchShape], None] = lambda shape: None,
) -> EngineFigures:
    """Load an engine and measure every shape.

    Raises:
        ConfigError: it cannot be loaded here, or the voice cannot be used.
    """
    _reset_peak()
    engine, load_s = _timed(load)
    _, first_voice_s = _timed(lambda: _place(engine, voice))
    prepared, next_voice_s = _timed(lambda: _place(engine, voice))
    batches = []
    left_out = tuple(shape for shape in shapes if shape.streams > engine.max_streams)
    for shape in shapes:
        if shape in left_out:
            continue
        on_shape(shape)
        run = _Run(engine, prepared, shape, seed)
        run.stream(steps=1)  # kernels of this shape
        batches.append(run.measure(steps, warm_up))
    return EngineFigures(
        name,
        type(engine).__name__,
        load_s,
        first_voice_s,
        next_voice_s,
        tuple(batches),
        left_out,
        engine.max_streams,
    )


class _Run:
    """Streams of one shape through one engine."""

    def __init__(self, engine: StepEngine, voice: Any, shape: BatchShape, seed: int) -> None:
        self._engine, self._voice, self._shape = engine, voice, shape
        self._rng = np.random.default_rng(seed)
        self._lookahead = engine.lookahead

    def measure(self, steps: int, warm_up: int) -> BatchFigures:
        seconds, audio_s = self.stream(warm_up + steps)
        step_s = percentiles(seconds[warm_up:])
        assert step_s is not None  # at least one step, as the command demands
        return BatchFigures(
            self._shape,
            first_step_s=seconds[0],
            step_s=step_s,
            audio_s_per_s=sum(audio_s[warm_up:]) / sum(seconds[warm_up:]),
            peak_gpu_mib=_peak_mib(),
        )

    def stream(self, steps: int) -> tuple[list[float], list[float]]:
        """Seconds and audio seconds of each step; the streams are ended afterwards."""
        started = time.perf_counter()
        states = [self._engine.open(self._voice) for _ in range(self._shape.streams)]
        seconds, audio_s = [], []
        for _ in range(steps):
            states, made = self._step(states, last=False)
            ended = time.perf_counter()
            seconds.append(ended - started)
            audio_s.append(made / (BYTES_PER_SAMPLE * OUTPUT_SAMPLE_RATE_HZ))
            started = time.perf_counter()
        states, _ = self._step(states, last=True)
        for state in states:
            self._engine.close(state)
        return seconds, audio_s

    def _step(self, states: list[Any], *, last: bool) -> tuple[list[Any], int]:
        count = self._shape.chunk_tokens + (0 if last else self._lookahead)
        shape = (len(states), count)
        tokens = self._rng.integers(self._engine.codebook_size, size=shape).tolist()
        rows = [StepInput(state, chunk, last) for state, chunk in zip(states, tokens, strict=True)]
        outputs = self._engine.step(rows)
        made = sum(len(output.pcm) for output in outputs)
        return [output.state for output in outputs], made


def _place(engine: StepEngine, recording: bytes) -> Any:
    return place_whole(engine.place_voice(engine.encode_voice(recording)))


def _timed(call: Callable[[], T]) -> tuple[T, float]:
    started = time.perf_counter()
    result = call()
    return result, time.perf_counter() - started


def _reset_peak() -> None:
    import torch

    gc.collect()  # the engine measured before, should a cycle hold it, and its GiB of memory
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _peak_mib() -> float | None:
    import torch

    return torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else None
