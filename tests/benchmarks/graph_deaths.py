"""The SIGKILL of one stage's GPU process under load: what the other one and the clients see."""

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

import httpx

from serve_app.bench.measures import RequestTrace
from tests.benchmarks.graph_load import Load, right_length

# By the titles of the processes that hold a GPU.
TITLES = {"Thinker": "VLLM::EngineCore", "Token2Wav": "ray::ServeReplica:step-audio2:Token2Wav"}
CLIENTS = 8
LOADED_FOR_S = 2.0
NOTICED_WITHIN_S = 20.0
POLL_S = 0.1
AFTERWARDS = 4  # answers


def pids(title: str) -> list[int]:
    """The processes of this machine whose title begins so."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                command = (folder / "cmdline").read_bytes().decode(errors="replace")
            except OSError:  # it has ended
                continue
            if command.startswith(title):
                found.append(int(folder.name))
    return found


async def kill(stage: str, url: str, load: Load, tokens: int, within_s: float) -> dict[str, Any]:
    """Kill `stage` under the load of some clients, and wait until answers are right again."""
    title = TITLES[stage]
    (other,) = set(TITLES.values()) - {title}
    before, others = pids(title), pids(other)
    loop = load.closed_loop("beside a death", [tokens], CLIENTS, LOADED_FOR_S * 2, within_s)
    loading = asyncio.create_task(loop)
    await asyncio.sleep(LOADED_FOR_S)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    killed_s = time.monotonic()
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        bad_after_s = await _health(client, killed_s, NOTICED_WITHIN_S, wanted=False)
        good_after_s = await _health(client, killed_s, within_s, wanted=True)
    during = (await loading).traces
    later = await load.together("after it", tokens, AFTERWARDS, within_s, warm_up=False)
    return {
        "killed": stage,
        "health_bad_after_s": bad_after_s,
        "health_good_after_s": good_after_s,
        "clients_during_it": _counts(during),
        "clients_after_it": _counts(later.traces),
        "other_stage_survived": bool(others) and set(others) <= set(pids(other)),
        "replaced": bool(pids(title)) and not set(before) & set(pids(title)),
    }


async def _health(
    client: httpx.AsyncClient, since_s: float, within_s: float, *, wanted: bool
) -> float | None:
    """Seconds from `since_s` until `/health` is 200, or is not; None if that does not come."""
    while time.monotonic() < since_s + within_s:
        try:
            good = (await client.get("/health", timeout=5)).status_code == 200
        except httpx.HTTPError:
            good = False
        if good == wanted:
            return round(time.monotonic() - since_s, 2)
        await asyncio.sleep(POLL_S)
    return None


def _counts(traces: list[RequestTrace]) -> dict[str, int]:
    whole = sum(trace.ok and right_length(trace) for trace in traces)
    return {"asked": len(traces), "whole": whole, "failed": sum(not t.ok for t in traces)}
