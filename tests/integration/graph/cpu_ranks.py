"""vLLM's Ray executor on a machine without a GPU: Ray counts GPUs that are not there.

Everything is vLLM's own (the search for the placement group, the actors in its bundles, their
share of a GPU) but the two answers that its CPU platform does not give.
"""

import ray
from vllm.platforms import current_platform
from vllm.v1.executor import ray_executor_v2


class CpuRank(ray_executor_v2.RayWorkerProc):
    """A rank that computes on the CPU and says which of Ray's GPUs its bundle has."""

    def get_node_and_physical_gpu_ids(self) -> tuple[str, list[int]]:
        context = ray.get_runtime_context()
        return context.get_node_id(), [int(each) for each in context.get_accelerator_ids()["GPU"]]


class CpuRanks(ray_executor_v2.RayExecutorV2):
    """Its ranks are Ray actors in the bundles with a GPU."""

    def _init_executor(self) -> None:
        current_platform.ray_device_key = "GPU"
        ray_executor_v2.RayWorkerProc = CpuRank
        super()._init_executor()
        gpus = self.parallel_config.assigned_physical_gpu_ids
        assert len(set(gpus)) == self.world_size, f"ranks on GPUs {gpus}"
