"""The Thinker as a Ray Serve deployment: a thin shell around its engine."""

import logging
import os
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

import ray
from ray import serve

from deployments import metrics, nvidia_mps
from deployments.heap import HeapTender, keep_large_blocks_apart, settle_heap
from deployments.liveness.heartbeats import Beating, Heartbeats, require_health
from deployments.messages import ThinkerDelta, ThinkerRequest
from deployments.metrics import recorder
from deployments.model_files import find_model
from deployments.replica_logs import complaints_shown, request_logged, show_in_replica_log
from deployments.replica_name import own_name, refusals_named, signed
from deployments.resume import Recovery
from deployments.scaling.stage_load import StageLoad
from deployments.stages import ThinkerEngine
from deployments.thinker.fake import FakeThinkerEngine
from deployments.thinker.sampling import Sampling
from deployments.thinker.thinker_config import ThinkerConfig
from deployments.thinker.traced_turn import traced_turn

logger = logging.getLogger(__name__)


def build_engine(model: str, config: ThinkerConfig) -> ThinkerEngine:
    """The engine that `config.engine` names, not yet started."""
    if config.engine == "fake":
        limit = config.sampling.max_tokens or Sampling().max_tokens
        return FakeThinkerEngine(max_tokens=limit, **config.engine_kwargs)

    from deployments.thinker.engine import VllmEngine

    files = find_model(model)
    files.require(token2wav=False, weights=config.reads_weights)
    return VllmEngine(files, config, metrics_to_ray=True)


@serve.deployment(name="Thinker")
class ThinkerDeployment:
    """Streams answers; a stream that is closed or cancelled is aborted in the engine."""

    async def __init__(  # type: ignore[misc]  # Ray Serve awaits it
        self,
        model: str,
        config: ThinkerConfig,
        recovery: Recovery = Recovery(),  # noqa: B008
    ) -> None:
        keep_large_blocks_apart()
        show_in_replica_log()
        started_s = time.monotonic()
        # With `distributed_executor_backend: ray` vLLM's engine process connects to Ray. vLLM gives
        # it the address, except where VLLM_WORKER_MULTIPROC_METHOD is set: Ray would guess one.
        os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
        with complaints_shown():
            nvidia_mps.join()
            self._engine = build_engine(model, config)
            await self._engine.start()
        self._name = own_name()
        self._load = StageLoad()
        self._stuck_s = recovery.stuck_s or self._engine.longest_step_s
        self._heartbeats = Heartbeats(self._engine.steps, self._stuck_s)
        settle_heap()
        self._heap = HeapTender()
        logger.info("Thinker: ready after %.1f s", time.monotonic() - started_s)

    async def generate(self, request: ThinkerRequest) -> AsyncGenerator[ThinkerDelta]:
        """Answer one turn; the last delta carries the `finish_reason`."""
        deltas = traced_turn(request, self._engine)
        answer: Beating[ThinkerDelta] | AsyncGenerator[ThinkerDelta]
        if request.beats:
            answer = self._heartbeats.among(deltas, ThinkerDelta(replica=self._name))
        else:
            answer = signed(deltas, self._name)
        logged = request_logged(logger, request.request_id, request.reply, request.trace)
        with self._load.counted(), logged, refusals_named(self._name):
            async with aclosing(answer):
                async for delta in answer:
                    yield delta

    async def record_autoscaling_stats(self) -> dict[str, float]:  # Ray Serve calls it
        return self._load.stats(self._engine.headroom())

    async def check_health(self) -> None:
        recorder().record(metrics.HEADROOM, self._engine.headroom())
        recorder().record(metrics.REPORTED, time.time())
        await require_health(self._engine, self._stuck_s)
        self._heap.tend(idle=not self._engine.active_requests())

    def __del__(self) -> None:
        if hasattr(self, "_engine"):
            self._engine.close()
