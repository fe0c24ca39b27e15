"""Faults happen to a Ray on this machine."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import ray
from ray._private.state import actors
from ray.cluster_utils import Cluster

from tests.benchmarks.chaos.cut_link import NODE, Link
from tests.benchmarks.chaos.faults import INGRESS, STAGES, Fault

NODE_CPUS = 8


class Disturbance:
    """Has one fault after the other. Replicas that still hang when it ends go on."""

    def __init__(
        self,
        cluster: Cluster,
        link: Link | None,
        application: str,
        note: Callable[[Fault], None],
    ) -> None:
        """`note` hears of each fault that happens. `link`: of the node that can be cut off."""
        self._cluster = cluster
        self._link = link
        self._application = application
        self._note = note
        # What starts processes: the kernel ends Ray's with the thread that started them.
        self._starter = ThreadPoolExecutor(1)

    async def _start(self, start: Callable[..., Any], **how: Any) -> None:
        await asyncio.get_running_loop().run_in_executor(self._starter, partial(start, **how))

    async def run(self, began: float, faults: list[Fault]) -> None:
        async with asyncio.TaskGroup() as lasting:
            for fault in faults:
                await asyncio.sleep(began + fault.at_s - time.monotonic())
                records = await asyncio.to_thread(actors)
                happen = {
                    "hang": self._hang,
                    "node": self._remove_node,
                    "cut": self._cut_link,
                    "gcs": self._restart_gcs,
                }.get(fault.kind, self._kill)
                lasting.create_task(happen(fault, list(records.values())))

    async def _kill(self, fault: Fault, records: list[dict[str, Any]]) -> None:
        if pid := self._process(fault, records):
            os.kill(pid, signal.SIGKILL)

    async def _hang(self, fault: Fault, records: list[dict[str, Any]]) -> None:
        if not (pid := self._process(fault, records)):
            return
        with contextlib.suppress(ProcessLookupError):  # it was killed meanwhile
            os.kill(pid, signal.SIGSTOP)
            try:
                await asyncio.sleep(fault.seconds)
            finally:
                os.kill(pid, signal.SIGCONT)

    def _process(self, fault: Fault, records: list[dict[str, Any]]) -> int | None:
        """Of the replica that is hit; none where nobody would be left to go on."""
        deployment = INGRESS if fault.kind == "ingress" else fault.stage
        pids = sorted(one["Pid"] for one in self._replicas(deployment, records))
        if len(pids) < 2:
            return None
        self._note(fault)
        return int(pids[int(fault.which * len(pids))])

    async def _remove_node(self, fault: Fault, records: list[dict[str, Any]]) -> None:
        """A machine is gone with all that runs there; another one comes in its place."""
        kept = (self._cluster.head_node.node_id, ray.get_runtime_context().get_node_id())
        workers = [one for one in self._cluster.worker_nodes if one.node_id not in kept]
        workers.sort(key=lambda one: str(one.node_id))
        if not workers:
            return
        node = workers[int(fault.which * len(workers))]
        if not all(self._is_elsewhere(stage, node.node_id, records) for stage in STAGES):
            return
        self._note(fault)
        await asyncio.to_thread(self._cluster.remove_node, node, allow_graceful=False)
        await asyncio.sleep(fault.seconds)
        await self._start(self._cluster.add_node, num_cpus=NODE_CPUS)

    async def _cut_link(self, fault: Fault, records: list[dict[str, Any]]) -> None:
        """A machine is cut off, and runs on."""
        assert self._link is not None
        node_ids = {node["NodeID"] for node in ray.nodes() if node["NodeManagerAddress"] == NODE}
        here = [
            one
            for stage in STAGES
            for one in self._replicas(stage, records)
            if one["Address"]["NodeID"] in node_ids
        ]
        elsewhere = (self._is_elsewhere(stage, *node_ids, records) for stage in STAGES)
        if not here or not all(elsewhere):
            return
        self._note(fault)
        self._link.cut()
        try:
            await asyncio.sleep(fault.seconds)
        finally:
            self._link.mend()

    async def _restart_gcs(self, fault: Fault, records: list[dict[str, Any]]) -> None:
        """Ray's control plane is away for some time, and finds its state again."""
        self._note(fault)
        head = self._cluster.head_node
        await asyncio.to_thread(head.kill_gcs_server)
        try:
            await asyncio.sleep(fault.seconds)
        finally:
            await self._start(head.start_gcs_server)

    def _is_elsewhere(self, stage: str, node_id: str, records: list[dict[str, Any]]) -> bool:
        replicas = self._replicas(stage, records)
        return any(one["Address"]["NodeID"] != node_id for one in replicas)

    def _replicas(self, deployment: str, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        name = f"{self._application}#{deployment}#"
        return [one for one in records if one["State"] == "ALIVE" and name in one["Name"]]
