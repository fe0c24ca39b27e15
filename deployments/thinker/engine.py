"""The Thinker's engine: vLLM's AsyncLLM behind our own messages.

messages ─► PromptBuilder ─► vLLM ─► OutputSplitter ─► deltas, as the next chunk needs them
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from deployments.errors import ConfigError, EngineFailed, EngineLost
from deployments.messages import ThinkerDelta, ThinkerRequest
from deployments.model_files import ModelFiles
from deployments.priority import Places
from deployments.stages import LONGEST_CPU_STEP_S, LONGEST_GPU_STEP_S, Steps
from deployments.thinker import warm_up
from deployments.thinker.canary import Canary
from deployments.thinker.checkpoint_reading import load_config, load_tokenizer
from deployments.thinker.prompt import PromptBuilder
from deployments.thinker.prompt_runner import PromptRunner
from deployments.thinker.sampling import sampling_of
from deployments.thinker.step_clock import StepClock
from deployments.thinker.thinker_config import ThinkerConfig
from deployments.thinker.tokens import SpecialTokens, TextVocabulary
from deployments.thinker.turn import Model, Turn
from deployments.weight_files import one_line


class VllmEngine:
    """Answers turns with vLLM; implements `deployments.stages.ThinkerEngine`."""

    def __init__(
        self, files: ModelFiles, config: ThinkerConfig, *, metrics_to_ray: bool = False
    ) -> None:
        """`metrics_to_ray`: vLLM's own metrics go to Ray's agents, as a replica's do."""
        self._files = files
        self._config = config
        self._metrics_to_ray = metrics_to_ray
        self._runner: PromptRunner | None = None
        self._canary: Canary | None = None

    async def start(self) -> None:
        """Load the model and warm up.

        Raises:
            ConfigError: the checkpoint is not of this family, or vLLM refuses the arguments.
        """
        try:
            self._runner = runner = await asyncio.to_thread(self._load)
            await self._warm_up(runner)
            self._canary = await Canary.of(runner, self._prompts)
        except BaseException:
            self.close()
            raise

    async def generate(self, request: ThinkerRequest) -> AsyncGenerator[ThinkerDelta]:
        """Answer one turn. Closing the iterator aborts the request in vLLM.

        Raises:
            AudioUnreadable, SpokenTurnInvalid, PromptTooLong, SpeechTooLong: before anything is
                submitted.
            UnsupportedRequest: a JSON Schema that no answer can be held to.
            EngineFailed: the engine died or refused the request, or its answers are not to be
                trusted.
            ServerFull: background work has half of the places in vLLM's batch.
        """
        model = Model(self._special, self._vocabulary, self._stop_ids, self._config.think)
        runner = self._trusted_runner()
        with self._places.taken_by(request.priority):
            turn = Turn(request, runner, self._prompts, model)
            async with aclosing(turn.deltas()) as deltas:
                async for delta in deltas:
                    yield delta

    async def check_health(self) -> None:
        """Raise EngineFailed when no request can be served any more, or none rightly."""
        runner = self._trusted_runner()
        try:
            await runner.llm.check_health()
        except Exception as error:
            raise EngineFailed(f"vLLM is dead: {error}") from error
        if self._canary is not None:
            self._canary.ask_again()

    def active_requests(self) -> int:
        """Requests in vLLM that are neither finished nor aborted."""
        return 0 if self._runner is None else self._runner.active_requests()

    def headroom(self) -> float:
        """As `ThinkerEngine.headroom`."""
        if self._runner is None or not (active := self._runner.active_requests()):
            return 1.0
        batch = self._runner.llm.vllm_config.scheduler_config.max_num_seqs
        return 1 - max(active / batch, self._runner.cache_used)

    @property
    def longest_step_s(self) -> float:
        """Known once the engine has started."""
        return LONGEST_CPU_STEP_S if self._on_cpu else LONGEST_GPU_STEP_S

    def steps(self) -> Steps:
        """Those of vLLM's engine process. While it has work, it is always in one."""
        return Steps() if self._runner is None else self._runner.steps()

    def close(self) -> None:
        """Stop vLLM and its process. May be called twice."""
        runner, self._runner = self._runner, None
        if self._canary is not None:
            self._canary.close()
        if runner is not None:
            runner.llm.shutdown()

    def _trusted_runner(self) -> PromptRunner:
        if self._runner is None:
            raise EngineLost("the engine is not running")
        self._runner.require_trust()
        return self._runner

    def _load(self) -> PromptRunner:
        from vllm import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        from deployments.thinker.vllm_plugin import register
        from deployments.thinker.vllm_plugin.compat import ray_stat_loggers, step_logger
        from deployments.thinker.vllm_plugin.startup import (
            CPU_WORKER,
            engine_arguments,
            prepare_environment,
        )

        self._on_cpu = on_cpu = prepare_environment(self._config.engine_kwargs)
        register()
        root = self._files.root
        tokenizer = load_tokenizer(root)
        self._special = special = SpecialTokens.from_tokenizer(tokenizer)
        # The placeholder of a prompt's audio is part of no answer, so it can mean "not finite".
        config = load_config(root, non_finite_token_id=special.audio_patch)
        self._vocabulary = TextVocabulary(tokenizer)
        self._prompts = PromptBuilder(
            tokenizer,
            special,
            vocabulary=self._vocabulary,
            think=self._config.think,
        )
        ends = config.text_config.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        self._stop_ids = frozenset({special.turn_end, *ends} - {None})
        arguments = engine_arguments(self._files, config, self._config.engine_kwargs, on_cpu=on_cpu)
        clock = StepClock()
        loggers = [step_logger(clock.end_step)]
        if self._metrics_to_ray:
            loggers += ray_stat_loggers()
        try:
            llm = AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments), stat_loggers=loggers)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"vLLM refuses engine_kwargs: {one_line(error)}") from error
        except Exception as error:  # of its process, which has said more in the replica's log
            raise ConfigError(f"vLLM cannot load {root}: {one_line(error)}") from error
        self._places = Places(llm.vllm_config.scheduler_config.max_num_seqs)
        return PromptRunner(
            llm,
            sampling_of(self._config.sampling, root),
            stop_ids=self._stop_ids,
            non_finite_id=special.audio_patch,
            clock=clock,
            draws_by_position=arguments.get("worker_cls") == CPU_WORKER,
        )

    async def _warm_up(self, runner: PromptRunner) -> None:
        """Meet every kind of kernel once."""
        for request in warm_up.requests():
            async for _ in self.generate(request):
                pass
        if self._on_cpu:  # which has nothing to compile
            return
        scheduler = runner.llm.vllm_config.scheduler_config
        longest = min(scheduler.max_num_batched_tokens, runner.llm.model_config.max_model_len - 1)
        for batch in warm_up.batches(self._prompts, scheduler.max_num_seqs, longest):
            await warm_up.exercise(runner, batch)
