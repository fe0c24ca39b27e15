"""What differs between the versions of vLLM (0.26 to 0.32), chosen by signature, never by number.

Up to 0.28 `_apply_hf_processor_main` is handed the prompt as well, and answers with its ids; from
0.29 on it is handed the items alone, and since 0.31 a Hugging Face processor's settings have
another name. All mixins ask `audio_features` for the same features.

A request that vLLM refuses is a ValueError in the oldest versions, later a VLLMClientError. Some
refusals come as the cause of an EngineGenerateError: up to 0.27 those of a grammar by `guidance`.
The names of structured outputs are the same from 0.27 to 0.32.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from transformers import BatchFeature


class HasAudioFeatures(Protocol):
    """A processor that makes its features itself, without a Hugging Face processor."""

    info: Any

    def audio_features(self, mm_items: Any) -> BatchFeature: ...


class ItemsOnly:
    """The hook of vLLM 0.31 and 0.32: items → features."""

    def _apply_hf_processor_main(
        self: HasAudioFeatures, mm_items: Any, hf_kwargs: Mapping[str, object]
    ) -> BatchFeature:
        return self.audio_features(mm_items)


class ItemsOnlyBefore031:
    """The same of vLLM 0.29 and 0.30."""

    def _apply_hf_processor_main(
        self: HasAudioFeatures, mm_items: Any, hf_processor_mm_kwargs: Mapping[str, object]
    ) -> BatchFeature:
        return self.audio_features(mm_items)


class PromptAndItems:
    """The hook of vLLM 0.26 to 0.28: prompt, items → (ids, features, whether ids are expanded)."""

    def _apply_hf_processor_main(
        self: HasAudioFeatures,
        prompt: str | list[int],
        mm_items: Any,
        hf_processor_mm_kwargs: Mapping[str, object],
        tokenization_kwargs: Mapping[str, object],
        *,
        enable_hf_prompt_update: bool,
    ) -> tuple[list[int], BatchFeature, bool]:
        ids = prompt
        if isinstance(ids, str):  # only the dummy prompt that sizes the memory
            ids = self.info.get_tokenizer().encode(ids, add_special_tokens=False)
        return list(ids), self.audio_features(mm_items), False


def feature_hook(base: type) -> type:
    """The mixin with the `_apply_hf_processor_main` that has the signature `base` calls."""
    parameters = inspect.signature(base._apply_hf_processor_main).parameters  # type: ignore[attr-defined]
    if "prompt" in parameters:
        return PromptAndItems
    return ItemsOnly if "hf_kwargs" in parameters else ItemsOnlyBefore031


def ray_stat_loggers() -> list[type]:
    """For `AsyncLLM`: vLLM's metrics through Ray's agents, in place of this process's own registry.

    The time between two tokens is left out: it would be recorded for each request in each step.
    """
    from vllm.v1.metrics.ray_wrappers import RayPrometheusStatLogger

    class RayStatLogger(RayPrometheusStatLogger):
        def record(self, scheduler_stats: Any, iteration_stats: Any, **more: Any) -> None:
            if iteration_stats is not None:
                iteration_stats.inter_token_latencies_iter.clear()
            super().record(scheduler_stats, iteration_stats, **more)

    return [RayStatLogger]


def step_logger(on_step: Callable[[float], None]) -> Callable[..., Any]:
    """One of `stat_loggers` of vLLM's `AsyncLLM`: calls `on_step` after every step of the engine.

    It gets the share of the KV cache that is taken. vLLM reports every step, also one in the middle
    of a long prompt that gave no request a token.
    """
    from vllm.v1.metrics.loggers import StatLoggerBase

    class StepLogger(StatLoggerBase):
        def __init__(self, vllm_config: Any, engine_index: int = 0) -> None: ...

        def record(self, scheduler_stats: Any = None, *_: Any, **others: Any) -> None:
            on_step(scheduler_stats.kv_cache_usage if scheduler_stats is not None else 0.0)

        def log_engine_initialized(self) -> None: ...

    return StepLogger


def is_death(error: Exception) -> bool:
    """Whether vLLM says that its engine process has ended."""
    from vllm.v1.engine.exceptions import EngineDeadError

    return isinstance(error, EngineDeadError)


def refusal_of(error: Exception) -> BaseException | None:
    """Why vLLM refused a request, or None where it failed at it."""
    import vllm.exceptions

    kinds = ValueError, getattr(vllm.exceptions, "VLLMClientError", ValueError)
    causes = (error, error.__cause__)
    return next((cause for cause in causes if isinstance(cause, kinds)), None)
