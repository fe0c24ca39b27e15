"""Prompts through vLLM: a prompt and how to sample in, token ids out."""

import itertools
import logging
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from typing import Any

from deployments import tracing
from deployments.errors import EngineFailed, EngineLost, StepAudioError, UnsupportedRequest
from deployments.messages import SamplingOptions
from deployments.priority import Priority
from deployments.stages import Steps
from deployments.thinker.answer import EngineOutput
from deployments.thinker.constraints import Constraint, Json, OneOf
from deployments.thinker.prompt import Prompt
from deployments.thinker.sampling import Sampling
from deployments.thinker.step_clock import StepClock
from deployments.thinker.traced_turn import timed
from deployments.thinker.vllm_plugin.compat import is_death, refusal_of
from deployments.weight_files import one_line

VLLM_PRIORITY: Mapping[Priority, int] = {"live": 0, "background": 2}  # the lowest goes first
GOES_ON = -1  # added for an answer that lost its replica
logger = logging.getLogger(__name__)


class PromptRunner:
    """Runs prompts in a started vLLM, as long as its answers can be trusted."""

    def __init__(
        self,
        llm: Any,
        defaults: Sampling,
        *,
        stop_ids: Iterable[int],
        non_finite_id: int,
        clock: StepClock,
        draws_by_position: bool = False,
    ) -> None:
        """Take over a started engine.

        Args:
            llm: vLLM's `AsyncLLM`.
            defaults: for what a request does not say.
            stop_ids: token ids that end an answer.
            non_finite_id: the id that the model answers where its logits are not finite.
            clock: gets the steps of the engine.
            draws_by_position: whether a seed makes draws that another engine repeats, for nothing.
        """
        self.llm = llm
        self._clock = clock
        self._draws_by_position = draws_by_position
        self.defaults = defaults
        self._stop_ids = tuple(stop_ids)
        self._non_finite_id = non_finite_id
        self._numbers = itertools.count()
        self._no_more: str | None = None  # why no request may begin
        self._no_longer: str | None = None  # why no answer may go on

    @property
    def most_prompt_tokens(self) -> int:
        """The longest prompt: one token of the model's context is left for the answer."""
        return self.llm.model_config.max_model_len - 1

    def room(self, prompt: Prompt) -> int:
        """Tokens that the model's context leaves for the answer."""
        return self.llm.model_config.max_model_len - prompt.length

    def active_requests(self) -> int:
        """Requests in vLLM that are neither finished nor aborted."""
        return self.llm.output_processor.get_num_unfinished_requests()

    def steps(self) -> Steps:
        """How far vLLM's engine process is."""
        return self._clock.steps(at_work=self.active_requests() > 0)

    @property
    def cache_used(self) -> float:
        """The share of vLLM's KV cache that its requests have."""
        return self._clock.cache_used

    def require_trust(self) -> None:
        """Raise EngineFailed where an answer that begins now could not be trusted."""
        if reason := self._no_longer or self._no_more:
            raise EngineLost(reason)

    def distrust(self, reason: str) -> None:
        """End every answer, and begin none any more: the engine answers nonsense."""
        logger.error("%s", reason)
        self._no_longer = reason

    async def run(
        self,
        prompt: Prompt,
        parameters: Any,
        request_id: str = "thinker",
        param: str | None = None,
        priority: Priority = "live",
        goes_on: bool = False,
        trace: str = "",
    ) -> AsyncGenerator[EngineOutput]:
        """Run one prompt with vLLM's `SamplingParams`. Closing the iterator aborts it.

        `request_id` names the prompt in vLLM's log and traces, a number makes it unique there.
        `param` names the request's field that a constraint of the answer comes from. What is live
        goes into vLLM's batch before background work, which is preempted first where memory ends.
        What `goes_on` here goes before what begins and has the same priority. `trace` is the
        `traceparent` of what the prompt's times are a part of.

        Raises:
            UnsupportedRequest: vLLM cannot hold an answer to that constraint.
            EngineFailed: vLLM failed, or the answer cannot be trusted.
        """
        from vllm.renderers.inputs.preprocess import parse_model_prompt

        raw: dict[str, Any] = {"prompt_token_ids": prompt.token_ids}
        if prompt.audio_pieces:
            raw["multi_modal_data"] = {"audio": prompt.audio_pieces}
        # vLLM accepts a repeated id silently and mixes the answers.
        unique_id = f"{request_id}-{next(self._numbers)}"
        rank = VLLM_PRIORITY[priority] + GOES_ON * goes_on
        try:
            parsed = parse_model_prompt(self.llm.model_config, raw)
            (rendered,) = await self.llm.renderer.render_cmpl_async([parsed])
            if not self.active_requests():
                self._clock.begin()
            generated = self.llm.generate(
                rendered, parameters, unique_id, priority=rank, **self._trace_headers(trace)
            )
            if trace:
                generated = timed(generated, request_id, trace)
            async with aclosing(generated) as outputs:
                async for output in outputs:
                    self._require_sound(output.outputs[0].token_ids, unique_id)
                    if param is not None and output.outputs[0].finish_reason == "error":
                        raise UnsupportedRequest("its JSON Schema cannot be compiled", param)
                    yield _engine_output(output)
        except StepAudioError:
            raise
        except Exception as error:
            if param is not None and (refusal := refusal_of(error)):
                what = f"its JSON Schema cannot be followed: {one_line(refusal)}"
                raise UnsupportedRequest(what, param) from None
            logger.exception("vLLM failed at %s", unique_id)  # callers do not see it
            failed = EngineLost if is_death(error) else EngineFailed
            raise failed("the model failed to answer") from error

    def sampling(
        self,
        options: SamplingOptions,
        max_tokens: int,
        stop_ids: Iterable[int] = (),
        *,
        constraint: Constraint | None = None,
        chance: int = 0,
    ) -> Any:
        """vLLM's `SamplingParams` for what a request wants; the defaults for the rest.

        `chance` is the seed of a request without one, if the engine draws by it for nothing.
        """
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        def chosen(name: str) -> Any:
            value = getattr(options, name)
            return getattr(self.defaults, name) if value is None else value

        return SamplingParams(
            temperature=chosen("temperature"),
            top_p=chosen("top_p"),
            repetition_penalty=chosen("repetition_penalty"),
            max_tokens=max_tokens,
            seed=chance
            if options.seed is None and chance and self._draws_by_position
            else options.seed,
            stop_token_ids=[*self._stop_ids, *stop_ids],
            structured_outputs=_structured_outputs(constraint),
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
        )

    def _trace_headers(self, trace: str) -> dict[str, Any]:
        """What has vLLM trace the request itself, where `otlp_traces_endpoint` is configured."""
        if trace and self.llm.vllm_config.observability_config.otlp_traces_endpoint:
            return {"trace_headers": {tracing.TRACEPARENT: trace}}
        return {}

    def _require_sound(self, token_ids: Iterable[int], unique_id: str) -> None:
        """Raise EngineFailed where an answer cannot go on.

        vLLM reuses the KV cache blocks of an answer that is not finite without clearing them. So no
        request may begin any more. Answers that are finite go on.
        """
        if self._no_longer is not None:
            raise EngineFailed(self._no_longer)
        if self._non_finite_id in token_ids:
            self._no_more = "an answer of this engine was not finite"
            logger.error("%s: %s; the replica must be replaced", unique_id, self._no_more)
            raise EngineFailed("the model's answer is not finite")


def _structured_outputs(constraint: Constraint | None) -> Any:
    """vLLM's `StructuredOutputsParams`, or None."""
    from vllm.sampling_params import StructuredOutputsParams

    match constraint:
        case Json(schema):
            return StructuredOutputsParams(json=schema)
        case OneOf(texts):
            return StructuredOutputsParams(choice=list(texts))
    return None


def _engine_output(output: Any) -> EngineOutput:
    """Ours of vLLM's `RequestOutput`."""
    new = output.outputs[0]
    return EngineOutput(
        tuple(new.token_ids),
        new.finish_reason,
        len(output.prompt_token_ids or ()),
        output.num_cached_tokens or 0,
        tuple(map(_lead_nats, new.token_ids, new.logprobs or ())),
    )


def _lead_nats(token_id: int, likely: Mapping[int, Any]) -> float:
    """By how much a token's log-probability exceeds that of any other one among `likely`."""
    others = (choice.logprob for other, choice in likely.items() if other != token_id)
    return likely[token_id].logprob - max(others, default=float("-inf"))
