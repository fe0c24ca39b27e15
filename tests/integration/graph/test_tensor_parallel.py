"""configs/two_gpus_tensor_parallel.yaml on a real Ray that counts two GPUs, computed on the CPU.

Serve's placement group, vLLM's engine process that joins Ray from within a replica, its ranks as
Ray actors and our model in them are real; the weights are nano's, and Token2Wav answers at once.
"""

from pathlib import Path

import httpx
import yaml
from ray._private.state import actors

from serve_app.config import AppConfig
from tests.integration.graph.conftest import MODEL, on_node, replica_record, served
from tests.places import NANO

ROOT = Path(__file__).parents[3]
CONFIG = ROOT / "configs" / "two_gpus_tensor_parallel.yaml"
ONLY_A_GPU_HAS = ("kv_cache_memory_bytes", "gpu_memory_utilization")
SENTENCE = "Please open the window."  # nano repeats what it is told


def on_the_cpu() -> AppConfig:
    """The configuration as it stands but for the model, the engines and a GPU's memory."""
    from tests.integration.graph.cpu_ranks import CpuRanks

    arguments = yaml.safe_load(CONFIG.read_text())["applications"][0]["args"]
    thinker = arguments["thinker"]
    engine = thinker["engine_kwargs"]
    assert engine["distributed_executor_backend"] == "ray"
    thinker["engine_kwargs"] = {
        **{name: value for name, value in engine.items() if name not in ONLY_A_GPU_HAS},
        "distributed_executor_backend": CpuRanks,
        "max_model_len": 1024,
        "max_num_seqs": 4,
    }
    thinker["sampling"] = {"temperature": 0.0, "repetition_penalty": 1.0}
    thinker["deployment_config"]["max_constructor_retry_count"] = 1
    return AppConfig.model_validate(
        {
            "model": str(NANO),
            "thinker": thinker,
            "token2wav": {**arguments["token2wav"], "engine": "fake"},
            "http": {"models": [MODEL]},
            "ingress_deployment_config": on_node(),
        }
    )


async def test_the_ranks_share_a_placement_group_with_their_replica_and_answer(base_url):
    with served(on_the_cpu()):
        ranks = [
            actor
            for actor in actors().values()
            if actor["State"] == "ALIVE" and actor["Name"].startswith("vllm_Worker")
        ]
        assert sorted(actor["Name"][-4:] for actor in ranks) == ["_TP0", "_TP1"]
        assert len({actor["Pid"] for actor in ranks}) == 2
        nodes = {actor["Address"]["NodeID"] for actor in ranks}
        assert nodes == {replica_record("Thinker")["Address"]["NodeID"]}
        async with httpx.AsyncClient(timeout=60) as plain:
            chat = {"model": MODEL, "messages": [{"role": "user", "content": SENTENCE}]}
            answer = await plain.post(f"{base_url}/v1/chat/completions", json=chat)
        assert answer.json()["choices"][0]["message"]["content"].strip() == SENTENCE
