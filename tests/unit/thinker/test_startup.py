"""What we choose for vLLM, and what a configuration may choose instead."""

from pathlib import Path

import pytest

from deployments.model_files import ModelFiles
from deployments.thinker.vllm_plugin.config import StepAudio2Config
from deployments.thinker.vllm_plugin.startup import engine_arguments


def backend(*, on_cpu: bool, **chosen: object) -> object:
    files = ModelFiles(Path("somewhere"))
    arguments = engine_arguments(files, StepAudio2Config(), chosen, on_cpu=on_cpu)
    return arguments.get("distributed_executor_backend")


@pytest.mark.parametrize("sizes", [{}, {"tensor_parallel_size": 1}, {"tensor_parallel_size": None}])
def test_on_a_cpu_one_rank_runs_in_the_engines_own_process(sizes):
    assert backend(on_cpu=True, **sizes) == "uni"


@pytest.mark.parametrize("kind", ["tensor", "pipeline"])
def test_on_a_cpu_several_ranks_are_several_processes(kind):
    assert backend(on_cpu=True, **{f"{kind}_parallel_size": 2}) == "mp"


def test_on_a_gpu_vllm_or_the_configuration_says_how_ranks_are_started():
    assert backend(on_cpu=False, tensor_parallel_size=2) is None
    chosen = {"tensor_parallel_size": 2, "distributed_executor_backend": "ray"}
    for on_cpu in (False, True):
        assert backend(on_cpu=on_cpu, **chosen) == "ray"
