"""Which engine a configuration means: ours on a CPU, ours on a GPU, or the official package."""

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import torch

from deployments.chunker import ChunkSchedule
from deployments.errors import ConfigError
from deployments.stages import LONGEST_CPU_STEP_S, LONGEST_GPU_STEP_S
from deployments.token2wav.contract import EngineOptions, StepEngine
from deployments.token2wav.functional.flow_config import FlowConfig
from deployments.token2wav.functional.published_weights import read_flow_config
from deployments.token2wav.token2wav_config import GPU_QUIET_STREAMS, Token2WavConfig

logger = logging.getLogger(__name__)
PROGRESS_INTERVAL_S = 5.0
PROGRESS_WIDTH = 20
USUAL_VOICE_S = 10.0  # where an engine is loaded for no voice in particular

Device = Literal["cpu", "cuda"]
Dtype = Literal["float32", "float16"]


def load_engine(
    token2wav_dir: Path, config: Token2WavConfig, voice_s: Sequence[float] = (USUAL_VOICE_S,)
) -> Callable[[], StepEngine]:
    """What loads the engine of `config`, to be called in the thread that will run it.

    Args:
        voice_s: the lengths of the configured voices, for which a GPU's memory is divided.

    Raises:
        ConfigError: the checkpoint's flow.yaml cannot be used, or there is no such device.
    """
    options = engine_options(token2wav_dir, config, voice_s)
    if config.engine == "reference":
        from deployments.token2wav.reference import ReferenceEngine

        return partial(ReferenceEngine.load, options)
    if options.device == "cuda" and fits_kernels(read_flow_config(token2wav_dir)):
        from deployments.token2wav.resident.resident_engine import ResidentEngine

        return partial(ResidentEngine.load, options, progress=CaptureProgress())
    if options.device == "cuda":
        logger.warning("Token2Wav: our kernels do not have the flow's sizes; it runs unfused")
    from deployments.token2wav.functional.functional_engine import FunctionalEngine

    return partial(FunctionalEngine.load, options)


def for_its_device(config: Token2WavConfig) -> Token2WavConfig:
    """`config` with the defaults that depend on the device."""
    if config.quiet.streams is not None:
        return config
    streams = GPU_QUIET_STREAMS if _is_fast(config) else 0
    return config.model_copy(update={"quiet": config.quiet.model_copy(update={"streams": streams})})


def longest_step_s(config: Token2WavConfig) -> float:
    """What no step of the engine of `config` takes. The official package is as slow as a CPU."""
    return LONGEST_GPU_STEP_S if _is_fast(config) else LONGEST_CPU_STEP_S


def engine_options(
    token2wav_dir: Path, config: Token2WavConfig, voice_s: Sequence[float] = (USUAL_VOICE_S,)
) -> EngineOptions:
    """What `config` and the checkpoint say of an engine, on this machine.

    Raises:
        ConfigError: the checkpoint's flow.yaml cannot be used, or there is no such device.
    """
    device = _device(config)
    lookahead = read_flow_config(token2wav_dir).encoder.pre_lookahead_len
    return EngineOptions(
        token2wav_dir=token2wav_dir,
        device=device,
        dtype=_dtype(config, device),
        seed=config.seed,
        num_threads=config.num_threads,
        reference_audio=config.reference_audio,
        max_batch=config.max_batch,
        chunk_tokens=chunk_sizes(*config.schedules(lookahead)),
        max_streams=config.max_streams,
        voice_s=tuple(voice_s),
        gpu=config.gpu,
        gpu_share=config.gpu_share,
    )


def fits_kernels(flow: FlowConfig) -> bool:
    """Whether the GPU engine's Triton kernels can run a flow: their widths are powers of two."""
    dit, encoder = flow.dit, flow.encoder
    widths = (
        dit.hidden_size,
        dit.num_heads,
        dit.head_dim,
        encoder.output_size,
        encoder.attention_heads,
        encoder.output_size // encoder.attention_heads,
    )
    return all(width & (width - 1) == 0 for width in widths)


def chunk_sizes(*schedules: ChunkSchedule) -> tuple[int, ...]:
    """Tokens of the chunks that get a CUDA graph: first, last of the ramp, steady, last of all.

    The last chunk of a stream holds at most a steady one and the lookahead, less the token that
    would have completed it.
    """
    sizes: set[int] = set()
    for chunks in schedules:
        first, ramp_end = next(chunks.sizes()), max((*chunks.ramp, 1))
        longest = max(chunks.steady, ramp_end) + max(chunks.lookahead - 1, 0)
        sizes |= {first, ramp_end, chunks.steady, longest}
    return tuple(sorted(sizes))


def _is_fast(config: Token2WavConfig) -> bool:
    return config.engine == "native" and _device(config) == "cuda"


def _device(config: Token2WavConfig) -> Device:
    if config.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("token2wav.device is cuda, but this replica sees no GPU")
    return config.device


def _dtype(config: Token2WavConfig, device: Device) -> Dtype:
    if config.dtype == "auto":
        return "float16" if device == "cuda" else "float32"
    return config.dtype


class CaptureProgress:
    """A progress bar for a log: a line for the first shape, one every 5 s, one for the last."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._said_s = float("-inf")

    def __call__(self, done: int, of: int) -> None:
        now_s = self._now_s()
        if done < of and now_s - self._said_s < PROGRESS_INTERVAL_S:
            return
        self._said_s = now_s
        filled = PROGRESS_WIDTH * done // of
        bar = "#" * filled + "." * (PROGRESS_WIDTH - filled)
        logger.info("Token2Wav: [%s] %d of %d shapes captured", bar, done, of)
