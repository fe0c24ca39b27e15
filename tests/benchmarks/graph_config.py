"""The configuration that is measured.

Either a file of `configs/` as it stands, or one for a GPU (or, to rehearse, a CPU) within a
memory bound. In both the weights are random and answers have the shape of spoken ones.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from serve_app.app import merged
from serve_app.bench.stages.thinker import FORCED_SPEECH
from serve_app.config import AppConfig
from tests.benchmarks import no_multicast
from tests.benchmarks.speaking_weights import LOAD_FORMAT

MODEL = "step-audio-2-mini"
SPEECH = ("weights", "processor")  # what makes random weights speak
GIB = 2**30
GB = 10**9

# Weights of the Thinker on the GPU: 7.7 G of the decoder and 0.65 G of the encoder in bf16; in
# fp8 6.5 G of the decoder are half as big.
THINKER_WEIGHT_BYTES = int(15.6 * GIB)
THINKER_FP8_WEIGHT_BYTES = int(9.6 * GIB)
TOKEN2WAV_STREAM_BYTES = 400 << 20  # fp16 history of one stream: 362 MB after a 9 s voice


@dataclass(frozen=True, slots=True)
class Allowance:
    """What the two stages take of a GPU beside the Thinker's weights and Token2Wav's streams."""

    thinker_work_bytes: int  # CUDA context, activations, the pool of its CUDA graphs
    thinker_kv_bytes: int  # 57 kB a token
    token2wav_fixed_bytes: int  # context, weights, a step's activations
    nobodys_bytes: int


WHOLE_GPU = Allowance(3 * GIB, 16 * GIB, int(2.5 * GIB), 4 * GIB)  # 256 streams of 1 100 tokens
SMALL = Allowance(int(1.4 * GIB), GIB, int(2.5 * GIB), GIB // 4)  # 16 sequences
TIGHT = Allowance(int(1.2 * GIB), 3 * GIB // 4, int(1.7 * GIB), GIB // 4)  # by use seen in SMALL
TIGHT_BELOW_BYTES = 20 * GB


@dataclass(frozen=True, slots=True)
class Plan:
    """Where the graph runs and what it may take."""

    model: str  # a model directory
    device: str  # `cuda` or `cpu`
    full_size: bool
    gpu_bytes: int = 0  # of the whole GPU
    limit_bytes: int | None = None  # for both stages together; None: all of the GPU
    max_streams: int = 256
    fp8: bool = False  # the Thinker's linear layers, quantised while they load
    speech: str = "weights"  # one of `SPEECH`
    config: str | None = None  # a file of `configs/`, taken as it stands
    mps: tuple[int, int] | None = None  # per cent of the GPU for the Thinker and for Token2Wav
    voice_store: str | None = None  # a folder
    token2wav: dict[str, Any] = field(default_factory=dict)  # keys of that section

    @property
    def small(self) -> bool:
        return self.limit_bytes is not None

    @property
    def allowance(self) -> Allowance:
        if self.limit_bytes is None:
            return WHOLE_GPU
        return TIGHT if self.limit_bytes < TIGHT_BELOW_BYTES else SMALL


@dataclass(frozen=True, slots=True)
class Memory:
    """The shares of one GPU."""

    thinker_bytes: int
    kv_cache_bytes: int
    token2wav_bytes: int


def share_memory(plan: Plan) -> Memory:
    """Raises ValueError where the two stages do not fit."""
    total, allowed = plan.limit_bytes or plan.gpu_bytes, plan.allowance
    weights = THINKER_FP8_WEIGHT_BYTES if plan.fp8 else THINKER_WEIGHT_BYTES
    fixed = allowed.thinker_work_bytes + allowed.thinker_kv_bytes
    thinker = (weights if plan.full_size else GIB) + fixed
    left = total - thinker - allowed.nobodys_bytes
    if left < allowed.token2wav_fixed_bytes + TOKEN2WAV_STREAM_BYTES:
        raise ValueError(f"{total / GIB:.1f} GiB are too few: {left / GIB:.1f} for Token2Wav")
    return Memory(thinker, allowed.thinker_kv_bytes, left)


def app_config(plan: Plan) -> AppConfig:
    """What `plan` says, for random weights with forced answers."""
    config = _usual(plan) if plan.config is None else _configured(plan, Path(plan.config))
    return AppConfig.model_validate(merged(config, {"token2wav": plan.token2wav}))


def _usual(plan: Plan) -> dict[str, Any]:
    """For the device within the plan's memory."""
    on_gpu = plan.device == "cuda"
    memory = share_memory(plan) if on_gpu else None
    return {
        "model": plan.model,
        "thinker": {
            "engine_kwargs": thinker_arguments(plan, memory),
            "deployment_config": _replica(2 if on_gpu else 0.5, 0.6 if on_gpu else 0),
        },
        "token2wav": {
            "device": plan.device,
            **token2wav_options(plan, memory),
            "deployment_config": _replica(2 if on_gpu else 0.5, 0.4 if on_gpu else 0),
        },
        "gpu_sharing": gpu_sharing(plan),
        "voice_store": plan.voice_store,
        "http": {"models": [MODEL]},
        "ingress_deployment_config": _replica(0.5, 0),
    }


def gpu_sharing(plan: Plan) -> dict[str, Any]:
    """How the stages use the GPU."""
    if plan.mps is None:
        return {}
    thinker, token2wav = plan.mps
    return {"mps": {"thinker": thinker, "token2wav": token2wav}}


def _configured(plan: Plan, path: Path) -> dict[str, Any]:
    """The file's application with the measurement's weights, and without multicast."""
    (application,) = yaml.safe_load(path.read_text())["applications"]
    measured: dict[str, Any] = {
        "model": plan.model,
        "thinker": {"engine_kwargs": forced_answers(plan)},
        "gpu_sharing": gpu_sharing(plan),
        "voice_store": plan.voice_store,
        "http": {"models": [MODEL]},
    }
    if application["args"]["thinker"]["engine_kwargs"].get("tensor_parallel_size", 1) > 1:
        measured["thinker"]["engine_kwargs"] |= no_multicast.ENGINE_KWARGS
    return merged(application["args"], measured)


def forced_answers(plan: Plan) -> dict[str, Any]:
    """vLLM's arguments for random weights that answer as long as they are asked to."""
    if plan.speech == "weights":
        return {"load_format": LOAD_FORMAT}
    return {
        "logits_processors": [FORCED_SPEECH],
        "load_format": "dummy" if plan.full_size else "auto",
    }


def thinker_arguments(plan: Plan, memory: Memory | None) -> dict[str, Any]:
    """vLLM's engine arguments."""
    common = {**forced_answers(plan), "enable_prefix_caching": True}
    if memory is None:
        return {**common, "max_model_len": 2048, "max_num_seqs": 16}
    sequences = 16 if plan.small else plan.max_streams
    return {
        **common,
        **({"quantization": "fp8"} if plan.fp8 else {}),
        "dtype": "bfloat16",
        "max_model_len": 4096 if plan.full_size else 2048,
        "max_num_seqs": sequences,
        "max_num_batched_tokens": 2048 if plan.small else 4096,
        "async_scheduling": True,
        "stream_interval": 5,  # one text token and four of audio
        # The cache in bytes, not by vLLM's profiling: that would count what Token2Wav takes of
        # the same GPU meanwhile. The fraction is then only checked against what is free.
        "kv_cache_memory_bytes": memory.kv_cache_bytes,
        "gpu_memory_utilization": round(memory.thinker_bytes / plan.gpu_bytes, 4),
    }


def token2wav_options(plan: Plan, memory: Memory | None) -> dict[str, Any]:
    """Token2Wav's section, its memory bounded by its share; the streams follow from that."""
    if memory is None:
        return {"dtype": "float32", "num_threads": 1, "max_streams": plan.max_streams}
    wanted = plan.max_streams * TOKEN2WAV_STREAM_BYTES
    state_bytes = min(memory.token2wav_bytes - plan.allowance.token2wav_fixed_bytes, wanted)
    gpu = {"memory_gb": round(state_bytes / GIB, 2), "resident_voices": 1 if plan.small else 4}
    return {"dtype": "float16", "max_batch": 8 if plan.small else 32, "gpu": gpu}


def graph_alone_config() -> AppConfig:
    """The same graph over engines that answer at once: what it costs by itself."""
    return AppConfig.model_validate(
        {
            "model": "none",
            "thinker": {"engine": "fake", "deployment_config": _replica(0.5, 0)},
            "token2wav": {
                "engine": "fake",
                "max_streams": 1024,
                "deployment_config": _replica(0.5, 0),
            },
            "http": {"models": [MODEL]},
            "ingress_deployment_config": _replica(0.5, 0),
        }
    )


def _replica(num_cpus: float, num_gpus: float) -> dict[str, Any]:
    return {
        "max_ongoing_requests": 1024,
        "max_queued_requests": 1024,
        "graceful_shutdown_timeout_s": 0.5,
        "max_constructor_retry_count": 1,  # what fails once would only spend the time twice
        "ray_actor_options": {"num_cpus": num_cpus, "num_gpus": num_gpus},
    }
