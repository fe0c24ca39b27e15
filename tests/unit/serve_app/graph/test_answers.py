"""What every caller of the graph does with an answer's deltas."""

from collections.abc import AsyncGenerator

import pytest

from deployments.errors import AnswerCut, EngineFailed
from deployments.messages import ThinkerDelta, Usage
from serve_app.graph.answers import complete, uncut


async def deltas(*scripted: ThinkerDelta) -> AsyncGenerator[ThinkerDelta]:
    for delta in scripted:
        yield delta


FIRST = ThinkerDelta(text="a")
STOPPED = ThinkerDelta(text="b", finish_reason="stop")
CUT = ThinkerDelta(text="b", finish_reason="length", usage=Usage(1, 99))


async def test_a_whole_answer_comes_unchanged() -> None:
    for whole in (complete, uncut):
        assert [d async for d in whole(deltas(FIRST, STOPPED))] == [FIRST, STOPPED]


async def test_an_answer_that_just_ends_or_is_aborted_is_an_error() -> None:
    aborted = ThinkerDelta(finish_reason="abort")
    for whole in (complete, uncut):
        for script in ((FIRST,), (FIRST, aborted), ()):
            with pytest.raises(EngineFailed, match="cut short"):
                [d async for d in whole(deltas(*script))]


async def test_an_answer_at_its_limit_is_complete_but_not_uncut() -> None:
    assert [d async for d in complete(deltas(FIRST, CUT))] == [FIRST, CUT]
    seen = []
    with pytest.raises(AnswerCut, match="99 tokens"):
        async for delta in uncut(deltas(FIRST, CUT)):
            seen.append(delta)
    assert seen == [FIRST, CUT]
