"""What comes again is held back, id for id, or the answer fails."""

import pytest

from deployments.errors import EngineFailed
from deployments.thinker.answer import EngineOutput
from deployments.thinker.remade_answer import Remade


def taken(made: tuple[int, ...], *outputs: EngineOutput) -> list[EngineOutput | None]:
    remade = Remade(made)
    return [remade.take(output) for output in outputs]


def test_nothing_is_new_before_all_has_come_again() -> None:
    first, second, third = (EngineOutput(ids) for ids in ((1, 2), (3,), (4, 5)))
    assert taken((1, 2, 3), first, second) == [None, EngineOutput(())]
    assert taken((1, 2, 3, 4), first, second, third) == [None, None, EngineOutput((5,))]


def test_the_end_that_comes_with_the_last_known_id_is_new() -> None:
    assert taken((1, 2), EngineOutput((1, 2), "stop")) == [EngineOutput((), "stop")]


@pytest.mark.parametrize("output", [EngineOutput((1, 3)), EngineOutput((1,), "stop")])
def test_another_answer_fails(output: EngineOutput) -> None:
    with pytest.raises(EngineFailed, match="could not be made again"):
        taken((1, 2), output)


def test_of_nothing_all_is_there() -> None:
    assert Remade(()).complete
