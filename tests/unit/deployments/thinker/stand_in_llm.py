"""What stands in for vLLM's `AsyncLLM`."""

from typing import Any


class Llm:
    """Notes the priority of each request, and what else it has; answers none."""

    model_config = None

    def __init__(self) -> None:
        self.renderer = self.output_processor = self
        self.priorities: list[int] = []
        self.more: list[dict[str, Any]] = []  # of what it was asked with

    def get_num_unfinished_requests(self) -> int:
        return 0

    async def render_cmpl_async(self, prompts: list[Any]) -> list[Any]:
        return prompts

    async def generate(self, *_: Any, priority: int, **more: Any) -> Any:
        self.priorities.append(priority)
        self.more.append(more)
        return
        yield
