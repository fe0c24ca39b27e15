"""Whom vLLM takes into its batch first."""

from deployments.thinker.prompt import Prompt
from deployments.thinker.prompt_runner import PromptRunner
from deployments.thinker.step_clock import StepClock


async def test_an_answer_that_goes_on_goes_before_those_of_its_priority_that_begin(llm):
    runner = PromptRunner(llm, None, stop_ids=(), non_finite_id=0, clock=StepClock())  # type: ignore[arg-type]
    wanted = [("live", True), ("live", False), ("background", True), ("background", False)]
    for priority, goes_on in wanted:
        async for _ in runner.run(Prompt([1], []), None, priority=priority, goes_on=goes_on):
            pass
    assert llm.priorities == sorted(set(llm.priorities))  # vLLM takes the lowest first
