"""What is known of vLLM's steps from outside its process."""

from deployments.stages import Steps
from deployments.thinker.step_clock import StepClock


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_an_engine_with_no_work_is_in_no_step() -> None:
    now = Clock()
    clock = StepClock(now)
    now.now_s = 100.0
    assert clock.steps(at_work=False) == Steps(0, 0.0)


def test_a_step_begins_with_the_work_or_where_the_one_before_it_ended() -> None:
    now = Clock()
    clock = StepClock(now)
    now.now_s = 100.0
    clock.begin()
    now.now_s = 101.0
    assert clock.steps(at_work=True) == Steps(0, 1.0)
    clock.end_step()
    now.now_s = 103.0
    assert clock.steps(at_work=True) == Steps(1, 2.0)
