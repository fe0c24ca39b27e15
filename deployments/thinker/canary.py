"""A canary: one fixed question with a known answer, asked again and again.

An engine can be alive and answer nonsense: its weights or its memory are damaged. The canary's
answer is drawn greedily, so it must come out as it did when the engine had just started.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from deployments.errors import EngineFailed
from deployments.messages import SamplingOptions
from deployments.thinker import tasks
from deployments.thinker.prompt import Prompt, PromptBuilder
from deployments.thinker.prompt_runner import PromptRunner

NAME = "canary"
QUESTION = tasks.converse("Please open the window.")
GREEDY = SamplingOptions(temperature=0.0, repetition_penalty=1.0)
TOKENS = 6
EVERY_S = 2.0
# In bfloat16 the logits of one prompt differ by some tenths between batch sizes. Where the first
# choice leads by less than this, the second one may be drawn.
CLEAR_LEAD_NATS = 1.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Choice:
    """A token that was drawn greedily."""

    token_id: int
    lead_nats: float = 0.0  # log-probability minus that of the second choice


def contradicts(answer: Sequence[int], expected: Sequence[Choice]) -> bool:
    """Whether `answer` cannot be the expected one, rounding granted.

    Behind a token that rounding may have changed, another answer is right as well.
    """
    for token_id, choice in zip(answer, expected, strict=False):
        if token_id != choice.token_id:
            return choice.lead_nats >= CLEAR_LEAD_NATS
    return len(answer) != len(expected)


class Canary:
    """Asks its question beside the requests. After a wrong answer its runner takes no requests."""

    def __init__(
        self,
        runner: PromptRunner,
        prompt: Prompt,
        expected: Sequence[Choice],
        every_s: float = EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`expected` is the answer of an engine that has just started."""
        self._runner = runner
        self._prompt = prompt
        self._expected = tuple(expected)
        self._every_s = every_s
        self._clock = clock
        self._asked_at_s = clock()
        self._asking: asyncio.Task[None] | None = None

    @classmethod
    async def of(cls, runner: PromptRunner, prompts: PromptBuilder) -> "Canary":
        """The canary of an engine that has just started: it learns the right answer now."""
        prompt = prompts.build(QUESTION, "text")
        parameters = runner.sampling(GREEDY, TOKENS)
        parameters.logprobs = 2
        expected: list[Choice] = []
        async for output in runner.run(prompt, parameters, NAME):
            expected += map(Choice, output.token_ids, output.leads_nats)
        if not any(choice.lead_nats >= CLEAR_LEAD_NATS for choice in expected):
            logger.warning(
                "no token of the canary's answer is clear: damage to this engine shows only in "
                "answers that are not finite"
            )
        return cls(runner, prompt, expected)

    def ask_again(self) -> None:
        """Ask again if it is time; the answer is awaited beside the caller."""
        asking = self._asking is not None and not self._asking.done()
        if not asking and self._clock() - self._asked_at_s >= self._every_s:
            self._asked_at_s = self._clock()
            self._asking = asyncio.create_task(self._compare())

    def close(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            self._asking.cancel()

    async def _compare(self) -> None:
        answer: list[int] = []
        try:
            parameters = self._runner.sampling(GREEDY, TOKENS)
            async for output in self._runner.run(self._prompt, parameters, NAME):
                answer += output.token_ids
        except EngineFailed:  # the runner has logged it
            return
        if contradicts(answer, self._expected):
            self._runner.distrust("the engine answers nonsense: it gave the canary a wrong answer")
