"""Several GPUs without NVLink's multicast, which a host that is shared may forbid.

vLLM would use it for all-reduce, by PyTorch's symmetric memory and, where FlashInfer is installed,
in the fusion of all-reduce and norm. NCCL and vLLM's own kernels over peer memory remain.
"""

from typing import Any

ENVIRONMENT = {
    "NCCL_NVLS_ENABLE": "0",
    "NVSHMEM_DISABLE_NVLS": "1",
    "TORCH_SYMM_MEM_DISABLE_MULTICAST": "1",
    "VLLM_ALLREDUCE_USE_FLASHINFER": "0",
    "VLLM_ALLREDUCE_USE_SYMM_MEM": "0",
    "VLLM_FLASHINFER_ALLREDUCE_BACKEND": "trtllm",
}
ENGINE_KWARGS: dict[str, Any] = {
    "compilation_config": {"pass_config": {"fuse_allreduce_rms": False}}
}
