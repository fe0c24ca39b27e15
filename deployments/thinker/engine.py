"""The Thinker's engine: vLLM's AsyncLLM behind our own messages.

messages ─► PromptBuilder ─► vLLM ─► OutputSplitter ─► deltas, as the next chunk needs them
"""

import asyncio
import itertools
import json
import logging
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import Any

from deployments.errors import ConfigError, EngineFailed, PromptTooLong
from deployments.messages import SamplingOptions, ThinkerDelta, ThinkerRequest
from deployments.model_files import ModelFiles
from deployments.thinker import warm_up
from deployments.thinker.answer import Answer, EngineOutput
from deployments.thinker.config import ThinkerConfig
from deployments.thinker.prompt import Prompt, PromptBuilder
from deployments.thinker.tokens import SpecialTokens, TextVocabulary
from deployments.thinker.vllm_plugin.config import StepAudio2Config

logger = logging.getLogger(__name__)


class VllmEngine:
    """Answers turns with vLLM; implements `deployments.pipeline.ThinkerEngine`."""

    def __init__(self, files: ModelFiles, config: ThinkerConfig) -> None:
        self._files = files
        self._config = config
        self._numbers = itertools.count()
        self._llm: Any = None

    async def start(self) -> None:
        """Load the model and warm up.

        Raises:
            ConfigError: the checkpoint is not of this family, or vLLM refuses the arguments.
        """
        try:
            await asyncio.to_thread(self._load)
            await self._warm_up()
        except BaseException:
            self.close()
            raise

    async def generate(self, request: ThinkerRequest) -> AsyncGenerator[ThinkerDelta]:
        """Answer one turn. Closing the iterator aborts the request in vLLM.

        Raises:
            AudioTooLong, AudioUnreadable, PromptTooLong: before anything is submitted.
            EngineFailed: the engine died or refused the request.
        """
        if self._llm is None:
            raise EngineFailed("the engine is not running")
        prompt = self._prompts.build(request.messages, request.reply)
        room = self._room(prompt)
        if room < 1:
            raise PromptTooLong(prompt.length, prompt.length + room - 1)
        budget = request.sampling.max_tokens or self._config.sampling.max_tokens
        answer = Answer(request, self._special, self._vocabulary, self._stop_ids)
        if self._config.think:
            think_end = self._special.think_end
            thought: list[int] = []
            finish_reason: str | None = None
            outputs = self._outputs(prompt, request.sampling, min(budget, room), think_end)
            async with aclosing(outputs):
                async for output in outputs:
                    thought += output.token_ids
                    finish_reason = output.finish_reason
                    if delta := answer.think(output):
                        yield delta
            if finish_reason != "stop" or thought[-1] != think_end:
                yield answer.finish(finish_reason or "abort")
                return
            prompt = self._prompts.after_thought(prompt, thought[:-1], request.reply)
            budget, room = budget - len(thought), self._room(prompt)
            if min(budget, room) < 1:
                yield answer.finish("length")
                return
        async with aclosing(self._outputs(prompt, request.sampling, min(budget, room))) as outputs:
            async for output in outputs:
                if delta := answer.push(output):
                    yield delta
                if answer.finished:  # also by a stop string, of which vLLM knows nothing
                    return

    async def check_health(self) -> None:
        """Raise EngineFailed when no request can be served any more."""
        if self._llm is None:
            raise EngineFailed("the engine is not running")
        try:
            await self._llm.check_health()
        except Exception as error:
            raise EngineFailed(f"vLLM is dead: {error}") from error

    def active_requests(self) -> int:
        """Requests in vLLM that are neither finished nor aborted."""
        return 0 if self._llm is None else self._llm.output_processor.get_num_unfinished_requests()

    def close(self) -> None:
        """Stop vLLM and its process. May be called twice."""
        llm, self._llm = self._llm, None
        if llm is not None:
            llm.shutdown()

    def _load(self) -> None:
        from transformers import AutoTokenizer
        from vllm import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        from deployments.thinker.vllm_plugin import register
        from deployments.thinker.vllm_plugin.startup import engine_arguments, prepare_environment

        self._on_cpu = on_cpu = prepare_environment()
        register()
        published = json.loads((self._files.root / "config.json").read_text())
        if published.get("model_type") != StepAudio2Config.model_type:
            raise ConfigError(f"{self._files.root} is no {StepAudio2Config.model_type} checkpoint")
        config = StepAudio2Config(**published)
        tokenizer = AutoTokenizer.from_pretrained(self._files.root).backend_tokenizer
        self._special = SpecialTokens.from_tokenizer(tokenizer)
        self._vocabulary = TextVocabulary(tokenizer)
        self._prompts = PromptBuilder(
            tokenizer,
            self._special,
            max_audio_s=self._config.max_audio_s,
            think=self._config.think,
        )
        ends = config.text_config.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        self._stop_ids = frozenset({self._special.turn_end, *ends} - {None})
        arguments = engine_arguments(self._files, config, self._config.engine_kwargs, on_cpu=on_cpu)
        try:
            self._llm = AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments))
        except (TypeError, ValueError) as error:
            raise ConfigError(f"vLLM refuses engine_kwargs: {error}") from error

    async def _warm_up(self) -> None:
        """Meet every kind of kernel once."""
        for request in warm_up.requests():
            async for _ in self.generate(request):
                pass
        if self._on_cpu:  # which has nothing to compile
            return
        scheduler = self._llm.vllm_config.scheduler_config
        longest = min(scheduler.max_num_batched_tokens, self._llm.model_config.max_model_len - 1)
        for batch in warm_up.batches(self._prompts, scheduler.max_num_seqs, longest):
            await asyncio.gather(*map(self._exercise, batch))

    async def _exercise(self, exercise: warm_up.Exercise) -> None:
        parameters = self._sampling(exercise.sampling, exercise.tokens, ())
        parameters.stop_token_ids, parameters.ignore_eos = [], True
        async with aclosing(self._run(exercise.prompt, parameters)) as outputs:
            async for _ in outputs:
                pass

    def _room(self, prompt: Prompt) -> int:
        """Tokens that the model's context leaves for the answer."""
        return self._llm.model_config.max_model_len - prompt.length

    def _outputs(
        self, prompt: Prompt, options: SamplingOptions, max_tokens: int, *stop_ids: int
    ) -> AsyncGenerator[EngineOutput]:
        """Run one prompt in vLLM, as the request wants it sampled."""
        return self._run(prompt, self._sampling(options, max_tokens, stop_ids))

    async def _run(self, prompt: Prompt, parameters: Any) -> AsyncGenerator[EngineOutput]:
        """Run one prompt in vLLM with its own `SamplingParams`."""
        from vllm.renderers.inputs.preprocess import parse_model_prompt

        llm = self._llm
        raw: dict[str, Any] = {"prompt_token_ids": prompt.token_ids}
        if prompt.audio_pieces:
            raw["multi_modal_data"] = {"audio": prompt.audio_pieces}
        # vLLM takes a repeated id without a word and mixes the answers, so ids are our own.
        request_id = f"thinker-{next(self._numbers)}"
        try:
            parsed = parse_model_prompt(llm.model_config, raw)
            (rendered,) = await llm.renderer.render_cmpl_async([parsed])
            async with aclosing(llm.generate(rendered, parameters, request_id)) as outputs:
                async for output in outputs:
                    new = output.outputs[0]
                    yield EngineOutput(
                        tuple(new.token_ids),
                        new.finish_reason,
                        len(output.prompt_token_ids or ()),
                        output.num_cached_tokens or 0,
                    )
        except Exception as error:
            logger.exception("vLLM failed")  # callers are told nothing of its insides
            raise EngineFailed("the model failed to answer") from error

    def _sampling(self, options: SamplingOptions, max_tokens: int, stop_ids: Iterable[int]) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        defaults = self._config.sampling

        def chosen(name: str) -> Any:
            value = getattr(options, name)
            return getattr(defaults, name) if value is None else value

        return SamplingParams(
            temperature=chosen("temperature"),
            top_p=chosen("top_p"),
            repetition_penalty=chosen("repetition_penalty"),
            max_tokens=max_tokens,
            seed=options.seed,
            stop_token_ids=[*self._stop_ids, *stop_ids],
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
        )
