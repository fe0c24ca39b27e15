"""All signatures of vLLM's feature hook, on stand-ins that call it as vLLM does."""

from types import SimpleNamespace
from typing import Any

import pytest
from transformers import BatchFeature

from deployments.thinker.vllm_plugin.compat import (
    ItemsOnly,
    ItemsOnlyBefore031,
    PromptAndItems,
    feature_hook,
    refusal_of,
)


class Base026:
    """Calls its hook as `BaseMultiModalProcessor` of vLLM 0.26 does."""

    info: Any = SimpleNamespace(
        get_tokenizer=lambda: SimpleNamespace(encode=lambda text, add_special_tokens: [7] * 3)
    )

    def _apply_hf_processor_main(
        self,
        prompt: str | list[int],
        mm_items: Any,
        hf_processor_mm_kwargs: Any,
        tokenization_kwargs: Any,
        *,
        enable_hf_prompt_update: bool,
    ) -> tuple[list[int], BatchFeature, bool]:
        raise NotImplementedError

    def run(self, prompt: str | list[int], *, enable_hf_prompt_update: bool) -> Any:
        return self._apply_hf_processor_main(
            prompt=prompt,
            mm_items=["a", "b"],
            hf_processor_mm_kwargs={},
            tokenization_kwargs={},
            enable_hf_prompt_update=enable_hf_prompt_update,
        )


class Base032:
    """Calls its hook as `BaseMultiModalProcessor` of vLLM 0.32 does."""

    info: Any = None

    def _apply_hf_processor_main(self, mm_items: Any, hf_kwargs: Any) -> BatchFeature:
        raise NotImplementedError

    def run(self) -> BatchFeature:
        return self._apply_hf_processor_main(mm_items=["a", "b"], hf_kwargs={})


class Base029:
    """Calls its hook as `BaseMultiModalProcessor` of vLLM 0.29 and 0.30 does."""

    info: Any = None

    def _apply_hf_processor_main(self, mm_items: Any, hf_processor_mm_kwargs: Any) -> BatchFeature:
        raise NotImplementedError

    def run(self) -> BatchFeature:
        return self._apply_hf_processor_main(mm_items=["a", "b"], hf_processor_mm_kwargs={})


class Features:
    def audio_features(self, mm_items: list[str]) -> BatchFeature:
        return BatchFeature({"mels": mm_items})


def test_the_hook_is_chosen_by_signature():
    assert feature_hook(Base026) is PromptAndItems
    assert feature_hook(Base029) is ItemsOnlyBefore031
    assert feature_hook(Base032) is ItemsOnly


def test_the_hook_of_0_26_gives_the_prompts_ids_unexpanded():
    class Processor(feature_hook(Base026), Features, Base026):
        pass

    for flag in (True, False):
        ids, features, expanded = Processor().run([1, 2], enable_hf_prompt_update=flag)
        assert (ids, dict(features), expanded) == ([1, 2], {"mels": ["a", "b"]}, False)


def test_the_hook_of_0_26_encodes_the_dummy_prompt():
    class Processor(feature_hook(Base026), Features, Base026):
        pass

    ids, _, _ = Processor().run("<audio_patch>", enable_hf_prompt_update=True)
    assert ids == [7, 7, 7]


@pytest.mark.parametrize("base", [Base029, Base032])
def test_the_hook_of_0_29_and_later_gives_the_features_alone(base):
    class Processor(feature_hook(base), Features, base):
        pass

    assert dict(Processor().run()) == {"mels": ["a", "b"]}


def test_a_refusal_of_vllm_is_known_bare_and_wrapped():
    from vllm.exceptions import VLLMValidationError

    wrapped = RuntimeError()
    wrapped.__cause__ = ValueError("no such type")
    for refused in (ValueError("no such type"), VLLMValidationError("no such type"), wrapped):
        assert str(refusal_of(refused)) == "no such type"
    assert refusal_of(RuntimeError("out of memory")) is None
