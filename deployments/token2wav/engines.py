"""Which engine a configuration means: ours on a CPU, ours on a GPU, or the official package."""

import logging
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from deployments.chunker import ChunkSchedule
from deployments.errors import ConfigError
from deployments.token2wav.config import Token2WavConfig
from deployments.token2wav.model import FlowConfig
from deployments.token2wav.model.load import read_flow_config

if TYPE_CHECKING:
    from deployments.token2wav.synthesizer import StepEngine

logger = logging.getLogger(__name__)
FRAMES_PER_TOKEN = 2
PROGRESS_INTERVAL_S = 5.0
PROGRESS_WIDTH = 20


def load_engine(token2wav_dir: Path, config: Token2WavConfig) -> "Callable[[], StepEngine]":
    """What loads the engine of `config`, to be called in the thread that will run it."""
    device = _device(config)
    options: dict[str, Any] = {
        "device": device,
        "dtype": _dtype(config, device),
        "seed": config.seed,
        "num_threads": config.num_threads,
        "lookahead": config.chunks.lookahead,
        "reference_audio_s": (config.reference_audio.min_s, config.reference_audio.max_s),
    }
    if config.engine == "reference":
        from deployments.token2wav.reference import ReferenceEngine

        return partial(ReferenceEngine.load, token2wav_dir, **options)
    if device == "cpu" or not fits_kernels(read_flow_config(token2wav_dir)):
        if device != "cpu":
            logger.warning("Token2Wav: the flow's sizes are none of our kernels'; it runs unfused")
        from deployments.token2wav.engine import Token2WavEngine

        return partial(Token2WavEngine.load, token2wav_dir, **options)

    from deployments.token2wav.resident.engine import ResidentEngine
    from deployments.token2wav.resident.settings import ResidentSettings

    settings = ResidentSettings(
        memory_bytes=int(config.gpu.memory_gb * 2**30),
        max_batch=config.max_batch,
        chunk_frames=chunk_frames(config.chunks, config.schedule(sys.maxsize)),
        history_s=config.gpu.history_s,
        typical_voice_s=config.gpu.typical_voice_s,
        resident_voices=config.gpu.resident_voices,
    )
    return partial(
        ResidentEngine.load, token2wav_dir, settings=settings, progress=CaptureProgress(), **options
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


def chunk_frames(*schedules: ChunkSchedule) -> tuple[int, ...]:
    """Mel frames of the steps worth a CUDA graph: first, last of the ramp, steady, last of all.

    The last chunk of a stream holds at most a steady one and the lookahead, less the token that
    would have completed it.
    """
    sizes: set[int] = set()
    for chunks in schedules:
        first, ramp_end = next(chunks.sizes()), max((*chunks.ramp, 1))
        longest = max(chunks.steady, ramp_end) + max(chunks.lookahead - 1, 0)
        sizes |= {first, ramp_end, chunks.steady, longest}
    return tuple(FRAMES_PER_TOKEN * size for size in sorted(sizes))


def _device(config: Token2WavConfig) -> str:
    if config.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("token2wav.device is cuda, but this replica sees no GPU")
    return config.device


def _dtype(config: Token2WavConfig, device: str) -> torch.dtype:
    if config.dtype == "auto":
        return torch.float16 if device == "cuda" else torch.float32
    return torch.float16 if config.dtype == "float16" else torch.float32


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
