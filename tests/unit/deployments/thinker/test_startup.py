"""What we choose for vLLM, and what a configuration may choose instead."""

import os
from pathlib import Path

import pytest

from deployments.model_files import ModelFiles
from deployments.thinker.vllm_plugin.hf_config import StepAudio2Config
from deployments.thinker.vllm_plugin.startup import (
    CPU_WORKER,
    engine_arguments,
    kv_cache_bytes,
    prepare_environment,
)


def argument(name: str, *, on_cpu: bool, **chosen: object) -> object:
    files = ModelFiles(Path("somewhere"))
    return engine_arguments(files, StepAudio2Config(), chosen, on_cpu=on_cpu).get(name)


def backend(*, on_cpu: bool, **chosen: object) -> object:
    return argument("distributed_executor_backend", on_cpu=on_cpu, **chosen)


def compilation(**chosen: object) -> object:
    return argument("compilation_config", on_cpu=False, **chosen)


def test_on_a_gpu_prompts_of_up_to_512_tokens_replay_a_graph_however_few_sequences_there_are():
    graphs = {"max_cudagraph_capture_size": 512}
    assert compilation(max_num_seqs=16) == graphs
    assert compilation(compilation_config={"backend": "eager"}) == graphs | {"backend": "eager"}
    assert argument("compilation_config", on_cpu=True) is None


@pytest.mark.parametrize(
    "chosen", [{"max_cudagraph_capture_size": 8}, {"cudagraph_capture_sizes": [1, 2]}]
)
def test_a_configuration_that_says_what_to_capture_is_obeyed(chosen):
    assert compilation(compilation_config=chosen) == chosen
    assert compilation(**chosen) is None  # vLLM takes it in one of the two places only


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


def test_json_is_held_by_the_library_that_bounds_its_work_unless_another_one_is_chosen():
    name = "structured_outputs_config"
    assert argument(name, on_cpu=False) == {"backend": "guidance", "disable_any_whitespace": True}
    assert argument(name, on_cpu=True, **{name: {"backend": "auto"}}) == {"backend": "auto"}


def test_a_cpu_draws_by_position_unless_another_worker_is_chosen():
    assert argument("worker_cls", on_cpu=True) == CPU_WORKER
    assert argument("worker_cls", on_cpu=True, worker_cls="a.B") == "a.B"
    assert argument("worker_cls", on_cpu=False) is None


@pytest.mark.parametrize(
    ("checkpoint", "chosen", "computed"),
    [
        ("bfloat16", {}, "bfloat16"),
        ("bfloat16", {"dtype": "auto"}, "bfloat16"),
        ("bfloat16", {"dtype": "float32"}, "float32"),
        ("float32", {}, "float32"),
        ("float32", {"dtype": "float16"}, "float16"),
    ],
)
def test_on_a_cpu_the_cache_holds_two_contexts_of_what_is_computed(checkpoint, chosen, computed):
    config = StepAudio2Config(text_config={"dtype": checkpoint})
    chosen = {"max_model_len": 65_536} | chosen
    arguments = engine_arguments(ModelFiles(Path("somewhere")), config, chosen, on_cpu=True)
    assert arguments["dtype"] in (computed, "auto")
    assert arguments["kv_cache_memory_bytes"] == 2 * kv_cache_bytes(config, 65_536, computed)
    assert kv_cache_bytes(config, 1, "float32") == 2 * kv_cache_bytes(config, 1, "bfloat16")


@pytest.mark.parametrize(("eager", "disabled"), [({}, "1"), ({"enforce_eager": False}, None)])
def test_on_a_cpu_nothing_is_compiled_unless_the_configuration_asks(monkeypatch, eager, disabled):
    monkeypatch.setattr(os, "environ", {})
    assert prepare_environment(eager)
    assert os.environ.get("TORCH_COMPILE_DISABLE") == disabled
