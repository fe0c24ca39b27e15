"""The canary over a scripted runner, its clock in the test's hands."""

import asyncio

import pytest

from deployments.errors import EngineFailed
from deployments.thinker.answer import EngineOutput
from deployments.thinker.canary import Canary, Choice, contradicts

CLEAR = [Choice(5, 9.0), Choice(6, 2.0), Choice(7, 4.0)]


class Runner:
    """Answers what the test says, and keeps what it is told."""

    def __init__(self, answer: list[int] | Exception) -> None:
        self.answer = answer
        self.asked = 0
        self.distrusted: list[str] = []

    def sampling(self, options, max_tokens):
        return options

    async def run(self, prompt, parameters, request_id):
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        for token_id in self.answer:
            yield EngineOutput((token_id,))

    def distrust(self, reason: str) -> None:
        self.distrusted.append(reason)


def canary_of(runner: Runner, times: list[float]) -> Canary:
    return Canary(runner, prompt=None, expected=CLEAR, every_s=2.0, clock=lambda: times[-1])


@pytest.mark.parametrize("answer", [[5, 6, 9], [0, 0, 0], [5, 6], [5, 6, 7, 8], []])
def test_a_wrong_token_that_was_clear_contradicts(answer):
    assert contradicts(answer, CLEAR)


def test_behind_a_token_that_rounding_may_change_anything_is_right():
    assert not contradicts([5, 8, 1], [Choice(5, 9.0), Choice(6, 0.3), Choice(7, 4.0)])


def test_the_same_answer_is_right():
    assert not contradicts([5, 6, 7], CLEAR)


async def test_a_right_answer_leaves_the_trust_and_a_wrong_one_takes_it():
    runner, times = Runner([5, 6, 7]), [0.0]
    canary = canary_of(runner, times)
    times.append(2.0)
    canary.ask_again()
    await asyncio.sleep(0)
    assert (runner.asked, runner.distrusted) == (1, [])
    runner.answer = [5, 0, 0]
    times.append(4.0)
    canary.ask_again()
    await asyncio.sleep(0)
    assert runner.asked == 2
    assert len(runner.distrusted) == 1


async def test_it_asks_no_sooner_than_its_interval_and_never_twice_at_once():
    runner, times = Runner([5, 6, 7]), [0.0]
    canary = canary_of(runner, times)
    for now_s in (0.5, 1.9):
        times.append(now_s)
        canary.ask_again()
    await asyncio.sleep(0)
    assert runner.asked == 0


async def test_an_engine_that_fails_is_no_wrong_answer():
    runner, times = Runner(EngineFailed("no")), [0.0]
    canary = canary_of(runner, times)
    times.append(2.0)
    canary.ask_again()
    await asyncio.sleep(0)
    assert (runner.asked, runner.distrusted) == (1, [])
