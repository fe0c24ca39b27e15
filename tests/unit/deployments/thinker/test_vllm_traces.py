"""Whether vLLM is asked to trace a request itself."""

from types import SimpleNamespace

import pytest

from deployments.thinker.prompt import Prompt
from deployments.thinker.prompt_runner import PromptRunner
from deployments.thinker.step_clock import StepClock

TRACEPARENT = f"00-{'1' * 32}-{'2' * 16}-01"


@pytest.mark.parametrize(
    ("endpoint", "trace", "given"),
    [
        ("http://collector", TRACEPARENT, {"trace_headers": {"traceparent": TRACEPARENT}}),
        ("http://collector", "", {}),
        (None, TRACEPARENT, {}),  # vLLM would warn of it in each request
    ],
)
async def test_vllm_traces_a_request_where_it_has_an_endpoint_and_a_trace(
    llm, endpoint, trace, given
) -> None:
    observability = SimpleNamespace(otlp_traces_endpoint=endpoint)
    llm.vllm_config = SimpleNamespace(observability_config=observability)
    runner = PromptRunner(llm, None, stop_ids=(), non_finite_id=0, clock=StepClock())  # type: ignore[arg-type]
    async for _ in runner.run(Prompt([1], []), None, trace=trace):
        pass
    assert llm.more == [given]
