"""vLLM's worker on a CPU, where another replica draws as the one that was lost would have done.

vLLM's runner for CPUs gives each request that has a seed a generator, whose state depends on all
draws before and is lost with the process. Its newer runner for GPUs draws by seed and position.
"""

from typing import Any

from vllm.v1.worker.cpu_worker import CPUWorker

from deployments.thinker.vllm_plugin.draws import place_generators


class PositionedCPUWorker(CPUWorker):
    """What the engine's argument `worker_cls` names."""

    def sample_tokens(self, grammar_output: Any) -> Any:
        place_generators(self.model_runner.input_batch)
        return super().sample_tokens(grammar_output)
