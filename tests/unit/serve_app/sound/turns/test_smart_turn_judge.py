"""The question whether a turn is complete, and what it may cost."""

import asyncio
import threading
import time

import numpy as np
import pytest

from serve_app.sound.turns import TurnJudge
from serve_app.sound.turns.smart_turn_judge import MOST_WAITING, Budget

SOUND = np.zeros(16_000, np.float32)


async def test_the_model_is_asked() -> None:
    judge = TurnJudge(lambda samples: len(samples) / 32_000)
    assert await judge.complete(SOUND) == 0.5
    judge.close()


async def test_a_spent_budget_answers_nothing() -> None:
    asked = []
    judge = TurnJudge(lambda samples: float(asked.append(1) or 1), cores=0)
    assert await judge.complete(SOUND) is None
    assert not asked
    judge.close()


async def test_the_models_processor_time_is_what_is_spent() -> None:
    def model(samples: np.ndarray) -> float:
        until = time.thread_time() + 0.01
        while time.thread_time() < until:
            pass
        return 1.0

    judge = TurnJudge(model, cores=1e-9, saved_s=0.025)
    answers = [await judge.complete(SOUND) for _ in range(5)]
    assert answers == [1.0] * 3 + [None] * 2
    judge.close()


async def test_a_full_queue_answers_at_once() -> None:
    go_on = threading.Event()

    def model(samples: np.ndarray) -> float:
        go_on.wait()
        return 1.0

    judge = TurnJudge(model)
    waiting = [asyncio.ensure_future(judge.complete(SOUND)) for _ in range(1 + MOST_WAITING)]
    await asyncio.sleep(0)
    assert await judge.complete(SOUND) is None
    waiting[-1].cancel()  # its speaker went on
    await asyncio.sleep(0)
    waiting[-1] = asyncio.ensure_future(judge.complete(SOUND))
    go_on.set()
    assert await asyncio.gather(*waiting) == [1.0] * (1 + MOST_WAITING)
    assert await judge.complete(SOUND) == 1.0  # all places are free again
    judge.close()


def test_a_budget_fills_with_time() -> None:
    now = [0.0]
    budget = Budget(0.5, saved_s=2.0, clock=lambda: now[0])
    budget.spend(3.0)
    assert budget.left_s() == pytest.approx(-1)
    now[0] = 3.0
    assert budget.left_s() == pytest.approx(0.5)
    now[0] = 300.0
    assert budget.left_s() == 2.0
