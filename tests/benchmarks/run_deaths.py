"""Does an answer sound the same when its replica dies? `python -m tests.benchmarks.run_deaths`.

The graph of `configs/cpu.yaml` with nano and two replicas of each stage. Two sentences are spoken
twice, greedily: once undisturbed, and once with a SIGKILL of the replica that makes it, of either
stage in turn, at a random part of its sound. Both must be the same to the last bit. An answer whose
last sound was made when the kill came is not counted as hit, and another one is drawn. Prints a
line an answer, writes JSON, and fails where one differs or too few were hit.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tests.conftest  # isort: skip  # noqa: F401  # first: Ray Serve reads its switches at import

import httpx
import ray
import yaml
from ray import serve
from ray._private.state import actors

from serve_app.app import app, merged
from serve_app.commands.serving.listeners import free_port
from serve_app.config import AppConfig
from serve_app.whole_files import write_whole

ROOT = Path(__file__).parents[2]
APPLICATION = "step-audio2-deaths"
SENTENCES = (ROOT / "tests/nano/recordings/sentences.txt").read_text(encoding="utf-8").splitlines()
# Each with the part of the sound that may be heard before the kill: what is heard is behind what
# Token2Wav has made, and that behind what the Thinker has.
STAGES = (("Token2Wav", 0.7), ("Thinker", 0.4))
BACK_WITHIN_S = 300.0
ANSWER_WITHIN_S = 120.0
MOST_DRAWN = 3  # times the answers that are to be hit


@dataclass(frozen=True)
class Death:
    """One answer that was hit, and what came of it."""

    text: str
    stage: str
    after: float  # of the undisturbed sound, the part that was heard when the replica was killed
    killed: bool  # whether the answer was still being made then
    sound_s: float
    longest_gap_s: float
    same: bool


def configuration() -> AppConfig:
    """Of `configs/cpu.yaml`, with another replica of each stage."""
    (application,) = yaml.safe_load((ROOT / "configs/cpu.yaml").read_text())["applications"]
    twice = {"deployment_config": {"num_replicas": 2}}
    more = {"model": str(ROOT / "configs/nano"), "voice_store": None}
    return AppConfig.model_validate(
        merged(application["args"], {"thinker": twice, "token2wav": twice}, more)
    )


def replicas(stage: str) -> list[dict[str, Any]]:
    """Ray's records of the living ones."""
    return [
        one
        for one in actors().values()
        if one["State"] == "ALIVE" and f"{APPLICATION}#{stage}#" in one["Name"]
    ]


async def busy_process(stage: str) -> int | None:
    """That of the replica which has the request, if one has it still."""
    records = replicas(stage)
    for record in records:
        replica = ray.get_actor(record["Name"], namespace="serve")
        ongoing = replica.__ray_call__.remote(
            lambda one: one._replica_impl.get_num_ongoing_requests()
        )
        if await ongoing:
            return int(record["Pid"])
    return None


async def all_back() -> None:
    """Wait until each stage has two replicas that serve."""
    async with asyncio.timeout(BACK_WITHIN_S):
        while True:
            stages = serve.status().applications[APPLICATION].deployments
            running = [stages[stage].replica_states.get("RUNNING", 0) for stage, _ in STAGES]
            if running == [2, 2]:
                return
            await asyncio.sleep(1)


class Speaker:
    """Asks for sentences, and kills while it listens."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def hear(self, text: str, kill: str = "", at_bytes: int = 0) -> tuple[bytes, float, bool]:
        """The sound, the longest time without any, and whether a replica was killed."""
        body = {
            "model": "step-audio-2-mini",
            "input": text,
            "voice": "low",
            "response_format": "pcm",
            "temperature": 0,
        }
        sound, longest_s, killed = b"", 0.0, False
        async with self._client.stream("POST", "/v1/audio/speech", json=body) as answer:
            answer.raise_for_status()
            heard_at_s = time.monotonic()
            async for piece in answer.aiter_raw():
                longest_s = max(longest_s, time.monotonic() - heard_at_s)
                sound += piece
                if kill and not killed and len(sound) > at_bytes:
                    pid, kill = await busy_process(kill), ""
                    if pid is not None:
                        os.kill(pid, signal.SIGKILL)
                        killed = True
                heard_at_s = time.monotonic()
        return sound, longest_s, killed


async def run(answers: int, seed: int, out: Path, base_url: str) -> bool:
    draw = random.Random(seed)
    deaths: list[Death] = []
    async with httpx.AsyncClient(base_url=base_url, timeout=ANSWER_WITHIN_S) as client:
        speaker = Speaker(client)
        while hits(deaths) < answers and len(deaths) < MOST_DRAWN * answers:
            text = " ".join(draw.sample(SENTENCES, 2))
            stage, most_heard = STAGES[hits(deaths) % len(STAGES)]
            await all_back()
            whole, *_ = await speaker.hear(text)
            after = draw.uniform(0.0, most_heard)
            hit, gap_s, killed = await speaker.hear(text, stage, int(after * len(whole)))
            seconds = len(whole) / 48_000
            deaths.append(Death(text, stage, after, killed, seconds, gap_s, hit == whole))
            print(deaths[-1], flush=True)
            write_whole(out, (json.dumps(document(deaths, seed), indent=1) + "\n").encode())
    return all(one.same for one in deaths) and hits(deaths) == answers


def hits(deaths: list[Death]) -> int:
    return sum(one.killed for one in deaths)


def document(deaths: list[Death], seed: int) -> dict[str, Any]:
    return {
        "command": ["python", "-m", "tests.benchmarks.run_deaths", *sys.argv[1:]],
        "seed": seed,
        "killed": hits(deaths),
        "same": sum(one.same for one in deaths),
        "deaths": [asdict(one) for one in deaths],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--answers", type=int, default=50, help="that are hit")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("build/deaths.json"))
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    ray.init(num_cpus=8, include_dashboard=False, log_to_driver=False)
    port = free_port()
    serve.start(http_options={"host": "127.0.0.1", "port": port, "location": "HeadOnly"})
    try:
        serve.run(app(configuration()), name=APPLICATION)
        passed = asyncio.run(
            run(options.answers, options.seed, options.out, f"http://127.0.0.1:{port}")
        )
    finally:
        serve.shutdown()
        ray.shutdown()
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
