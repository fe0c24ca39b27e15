"""Whom vLLM takes into its batch first."""

import sys
from types import ModuleType
from typing import Any

import pytest

from deployments.thinker.prompt import Prompt
from deployments.thinker.prompt_runner import PromptRunner
from deployments.thinker.step_clock import StepClock


class Llm:
    """Notes the priority of each request, and answers none."""

    model_config = None

    def __init__(self) -> None:
        self.renderer = self.output_processor = self
        self.priorities: list[int] = []

    def get_num_unfinished_requests(self) -> int:
        return 0

    async def render_cmpl_async(self, prompts: list[Any]) -> list[Any]:
        return prompts

    async def generate(self, *_: Any, priority: int) -> Any:
        self.priorities.append(priority)
        return
        yield


@pytest.fixture
def llm(monkeypatch: pytest.MonkeyPatch) -> Llm:
    preprocess = ModuleType("preprocess")
    preprocess.parse_model_prompt = lambda config, raw: raw  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm.renderers.inputs.preprocess", preprocess)
    for name in ("vllm", "vllm.renderers", "vllm.renderers.inputs"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    return Llm()


async def test_an_answer_that_goes_on_goes_before_those_of_its_priority_that_begin(llm):
    runner = PromptRunner(llm, None, stop_ids=(), non_finite_id=0, clock=StepClock())  # type: ignore[arg-type]
    wanted = [("live", True), ("live", False), ("background", True), ("background", False)]
    for priority, goes_on in wanted:
        async for _ in runner.run(Prompt([1], []), None, priority=priority, goes_on=goes_on):
            pass
    assert llm.priorities == sorted(set(llm.priorities))  # vLLM takes the lowest first
