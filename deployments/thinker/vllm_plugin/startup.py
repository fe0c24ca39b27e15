"""What we choose for vLLM where the configuration says nothing."""

import math
import os
from typing import Any

from deployments.model_files import ModelFiles
from deployments.thinker.vllm_plugin.hf_config import StepAudio2Config

MIN_KV_CACHE_BYTES = 128 << 20  # laying out vLLM's default of 1 GiB takes a CPU 10 s or more
# vLLM captures steps of up to twice `max_num_seqs` tokens; a prompt longer than that is launched
# kernel by kernel, which takes 17 ms longer on an H200.
GRAPH_TOKENS = 512
# Of the libraries that hold an answer to a JSON Schema, `guidance` bounds its own work: `xgrammar`,
# which vLLM would take, reads a schema of 200 optional members for more than 20 s, and meanwhile
# every answer of the engine waits. Without whitespace a small model cannot write it for ever.
STRUCTURED_OUTPUTS = {"backend": "guidance", "disable_any_whitespace": True}
FLOAT32 = "float32"
CPU_WORKER = "deployments.thinker.vllm_plugin.cpu_worker.PositionedCPUWorker"
CPU_ENVIRONMENT = {
    # The worker inside the engine's own process, instead of a process more: 15 s sooner.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "OMP_NUM_THREADS": "1",
    # Several ranks: vLLM would bind each to a NUMA node of its own, and fail where there are fewer.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
}
EAGER_ENVIRONMENT = {
    # vLLM compiles two small functions of its sampler all the same: 23 s at the first start on a
    # machine, for which it needs a C++ compiler.
    "TORCH_COMPILE_DISABLE": "1",
}


def prepare_environment(chosen: dict[str, Any]) -> bool:
    """Set what vLLM reads from the environment, unless it is set. Returns whether on a CPU.

    Args:
        chosen: arguments of vLLM's that the configuration chose.
    """
    from vllm.platforms import current_platform

    on_cpu = bool(current_platform.is_cpu())
    if on_cpu:
        eager = EAGER_ENVIRONMENT if chosen.get("enforce_eager", True) else {}
        for name, value in (CPU_ENVIRONMENT | eager).items():
            os.environ.setdefault(name, value)
    return on_cpu


def engine_arguments(
    files: ModelFiles, config: StepAudio2Config, chosen: dict[str, Any], *, on_cpu: bool
) -> dict[str, Any]:
    """Arguments of vLLM's `AsyncEngineArgs`; what the configuration chose wins."""
    defaults: dict[str, Any] = {
        "model": str(files.root),
        "mm_processor_cache_gb": 1.0,
        "structured_outputs_config": STRUCTURED_OUTPUTS,
        "scheduling_policy": "priority",  # those of one priority in the order of their arrival
    }
    if config.non_finite_token_id is not None:
        overrides = {"non_finite_token_id": config.non_finite_token_id}
        chosen = chosen | {"hf_overrides": overrides | (chosen.get("hf_overrides") or {})}
    if on_cpu:
        context = chosen.get("max_model_len") or config.text_config.max_position_embeddings
        dtype = _dtype(config, chosen)
        defaults |= {
            "worker_cls": CPU_WORKER,
            "dtype": dtype,
            "enforce_eager": True,  # compiling takes longer than a small model's requests
            # One process cannot be two ranks: it would wait for the second for ever. Left to
            # itself vLLM takes Ray in a placement group, and its Ray workers need a GPU each.
            "distributed_executor_backend": "uni" if _ranks(chosen) == 1 else "mp",
            "block_size": 32,  # the default of 128 would cache no prompt shorter than that
            "max_num_seqs": 32,
            "mm_processor_cache_gb": 0.05,  # of a laptop: some 200 recordings of a few seconds
            "kv_cache_memory_bytes": max(
                MIN_KV_CACHE_BYTES, 2 * kv_cache_bytes(config, context, dtype)
            ),
        }
    elif not chosen.keys() & {"max_cudagraph_capture_size", "cudagraph_capture_sizes"}:
        defaults["compilation_config"] = {"max_cudagraph_capture_size": GRAPH_TOKENS}
        compilation = chosen.get("compilation_config")
        if isinstance(compilation, dict) and "cudagraph_capture_sizes" not in compilation:
            chosen = chosen | {"compilation_config": defaults["compilation_config"] | compilation}
    return defaults | chosen


def kv_cache_bytes(config: StepAudio2Config, tokens: int, dtype: str) -> int:
    """Keys and values of `tokens` tokens in every layer."""
    text = config.text_config
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    width = 4 if dtype == FLOAT32 else 2
    return 2 * text.num_hidden_layers * text.num_key_value_heads * head_dim * width * tokens


def _ranks(chosen: dict[str, Any]) -> int:
    """Processes that share the model."""
    sizes = (chosen.get(f"{kind}_parallel_size") or 1 for kind in ("tensor", "pipeline"))
    return math.prod(sizes)


def _dtype(config: StepAudio2Config, chosen: dict[str, Any]) -> str:
    """What a CPU computes in: as the configuration says, else as the checkpoint does."""
    said = str(chosen.get("dtype") or "auto").removeprefix("torch.")
    if said == "auto":
        said = str(config.text_config.dtype or getattr(config, "dtype", None))
    return FLOAT32 if said.endswith((FLOAT32, "float")) else "bfloat16"
