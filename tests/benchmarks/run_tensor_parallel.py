"""The trained small Thinker on one GPU, and on two in both ways: do the answers agree?

`python -m tests.benchmarks.run_tensor_parallel --out FILE` starts the Thinker alone as a Ray Serve
application three times: on one GPU; on two whole ones with vLLM's own processes (`mp`); and as
`configs/two_gpus_tensor_parallel.yaml` has it, on shares of two in a placement group (`ray`). How
fast the published sizes are on two GPUs measures `run_graph --config`.

Two ranks add in another order than one, and in bf16 the likeliest of thousands of audio tokens is
now and then another one for that; what is heard must be the same, what is spoken for a while.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from deployments.audio_decoding import decode_audio
from deployments.messages import SamplingOptions, ThinkerRequest
from deployments.thinker import tasks
from serve_app.app import app, merged
from serve_app.config import AppConfig
from tests.benchmarks import no_multicast
from tests.benchmarks.plugin_entry import make_plugins_known
from tests.places import NANO, ROOT

CONFIG = ROOT / "configs" / "two_gpus_tensor_parallel.yaml"
WAYS = ("one", "mp", "ray")
GREEDY = SamplingOptions(temperature=0.0, top_p=1.0, repetition_penalty=1.0, max_tokens=60)
SPOKEN_ALIKE = 16  # tokens at least
SENTENCES = ("the red house is open", "seven small birds", "please open the window")


def thinker_section(way: str, device: str) -> dict[str, Any]:
    """The configuration's, made small enough for nano."""
    section = yaml.safe_load(CONFIG.read_text())["applications"][0]["args"]["thinker"]
    engine: dict[str, Any] = merged(
        section["engine_kwargs"],
        no_multicast.ENGINE_KWARGS,
        {"max_model_len": 1024, "max_num_seqs": 16, "enforce_eager": True},
    )
    deployment = section["deployment_config"]
    if way == "one":
        del engine["tensor_parallel_size"], engine["distributed_executor_backend"]
    if way == "mp":
        engine["distributed_executor_backend"] = "mp"
    if way != "ray":
        gpus = 0 if device == "cpu" else {"one": 1, "mp": 2}[way]
        deployment = {"ray_actor_options": {"num_cpus": 2, "num_gpus": gpus}}
    if device == "cpu":
        from tests.integration.graph.cpu_ranks import CpuRanks

        del engine["kv_cache_memory_bytes"], engine["gpu_memory_utilization"]
        if way == "ray":
            engine["distributed_executor_backend"] = CpuRanks
    else:
        engine["kv_cache_memory_bytes"] = 1 << 30
    once = {"max_constructor_retry_count": 1, "graceful_shutdown_timeout_s": 1}
    return {"engine_kwargs": engine, "deployment_config": {**deployment, **once}}


async def answers(application: str) -> list[list[int]]:
    """Greedy tokens of questions in text and speech."""
    from ray import serve

    handle = serve.get_deployment_handle("Thinker", application).options(stream=True)
    voices = [(NANO / "voices" / f"{name}.wav").read_bytes() for name in ("low", "high")]
    spoken = [decode_audio(voice, 16_000)[0] for voice in voices]
    requests = [
        *(ThinkerRequest(text, tasks.speak(text), "speech", GREEDY) for text in SENTENCES),
        *(ThinkerRequest("heard", tasks.transcribe(one), sampling=GREEDY) for one in spoken),
    ]
    return [
        [token async for delta in handle.generate.remote(request) for token in delta.token_ids]
        for request in requests
    ]


async def measure(way: str, device: str) -> dict[str, Any]:
    from ray import serve

    config = {
        "model": str(NANO),
        "thinker": thinker_section(way, device),
        "token2wav": None,
        "ingress_deployment_config": {"ray_actor_options": {"num_cpus": 0.1}},
    }
    graph = app(AppConfig.model_validate(config))
    began_s = time.monotonic()
    await asyncio.to_thread(serve.run, graph, name=way, route_prefix=None)
    found: dict[str, Any] = {"start_s": round(time.monotonic() - began_s, 1)}
    try:
        found["answers"] = await answers(way)
    finally:
        await asyncio.to_thread(serve.delete, way)
    return found


async def main(options: argparse.Namespace) -> int:
    import ray
    from ray import serve

    counted = {"num_cpus": 8, "num_gpus": 2} if options.device == "cpu" else {}
    ray.init(address="local", include_dashboard=False, **counted)
    serve.start(http_options={"location": "NoServer"})
    results: dict[str, dict[str, Any]] = {}
    for way in WAYS:
        try:
            results[way] = await measure(way, options.device)
        except Exception as error:  # the other ways may work
            results[way] = {"failure": f"{type(error).__name__}: {error}"[:2000]}
        print(way, json.dumps(results[way]), flush=True)
        options.out.write_text(json.dumps(results, indent=1))
    serve.shutdown()
    ray.shutdown()
    one, *others = (result.get("answers") for result in results.values())
    agree = [alike(one, other) if one and other else None for other in others]
    print(f"tokens of each answer before the first that differs: {agree}")
    return int(None in agree)


def alike(one: list[list[int]], other: list[list[int]]) -> list[int]:
    """How many tokens of each answer are the same from the beginning on."""
    return [
        next((i for i, pair in enumerate(zip(a, b, strict=False)) if pair[0] != pair[1]), len(a))
        for a, b in zip(one, other, strict=True)
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--out", type=Path, required=True)
    os.environ |= no_multicast.ENVIRONMENT | {"RAY_USAGE_STATS_ENABLED": "0"}
    with TemporaryDirectory() as site:
        make_plugins_known(Path(site))
        sys.exit(asyncio.run(main(parser.parse_args())))
