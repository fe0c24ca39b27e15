"""Pieces are written down in order, several at once."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import numpy as np
import pytest

from deployments.errors import AnswerCut
from deployments.messages import ThinkerDelta, Usage
from serve_app.http.transcription.joining import Joiner
from serve_app.http.transcription.segments import in_order, segments
from serve_app.sound.recording_pieces import Piece


async def count(to: int) -> AsyncGenerator[int]:
    for number in range(to):
        yield number


async def test_results_come_in_order_whichever_is_ready_first() -> None:
    async def work(item: int, number: int) -> int:
        assert item == number
        for _ in range(10 - item):
            await asyncio.sleep(0)
        return item * item

    found = [result async for result in in_order(count(10), work, at_once=4)]
    assert found == [n * n for n in range(10)]


async def test_no_more_than_the_limit_are_at_work() -> None:
    running, most = 0, 0

    async def work(item: int, number: int) -> int:
        nonlocal running, most
        running, most = running + 1, max(most, running + 1)
        for _ in range(5):
            await asyncio.sleep(0)
        running -= 1
        return item

    assert len([result async for result in in_order(count(20), work, at_once=3)]) == 20
    assert most == 3


@pytest.mark.parametrize("fails", [True, False])
async def test_all_work_ends_with_a_failure_and_with_the_generator(fails: bool) -> None:
    running: set[int] = set()

    async def work(item: int, number: int) -> int:
        running.add(item)
        try:
            if item == 1 and fails:
                raise AnswerCut(7)
            if item:
                await asyncio.Event().wait()
            return item
        finally:
            running.discard(item)

    async with aclosing(in_order(count(20), work, at_once=4)) as results:
        assert await anext(results) == 0
        if fails:
            with pytest.raises(AnswerCut):
                await anext(results)
    assert not running


def piece(number: int) -> Piece:
    return Piece(np.zeros(16, np.float32), float(number), number + 0.5, speech_probability=0.9)


async def pieces(to: int) -> AsyncGenerator[Piece]:
    for number in range(to):
        yield piece(number)


async def test_segments_say_when_and_what_and_leave_out_nothing_said() -> None:
    async def ask(piece: Piece, number: int, temperature: float) -> AsyncGenerator[ThinkerDelta]:
        text = ["Good day.", " ", " How are you?"][number]
        yield ThinkerDelta(text=text, token_ids=(number, 7), usage=Usage(5, 2))

    found = [segment async for segment in segments(pieces(3), ask, None)]
    assert [(s.start_s, s.end_s, s.text) for s in found] == [
        (0.0, 0.5, "Good day."),
        (2.0, 2.5, " How are you?"),
    ]
    assert found[1].token_ids == (2, 7)
    assert found[1].no_speech_prob == pytest.approx(0.1)
    assert (found[1].temperature, found[1].usage) == (0.0, Usage(5, 2))


@pytest.mark.parametrize(
    ("asked", "tried"), [(None, [0.0, 0.4, 0.8]), (0.0, [0.0, 0.4, 0.8]), (0.6, [0.6])]
)
async def test_a_piece_without_end_is_tried_warmer_unless_a_temperature_is_given(
    asked: float | None, tried: list[float]
) -> None:
    seen = []

    async def ask(piece: Piece, number: int, temperature: float) -> AsyncGenerator[ThinkerDelta]:
        seen.append(temperature)
        yield ThinkerDelta(text="la la")
        raise AnswerCut(100)

    with pytest.raises(AnswerCut):
        async for _ in segments(pieces(1), ask, asked):
            pass
    assert seen == tried


async def test_the_temperature_that_found_an_end_is_told() -> None:
    async def ask(piece: Piece, number: int, temperature: float) -> AsyncGenerator[ThinkerDelta]:
        yield ThinkerDelta(text="la")
        if temperature < 0.4:
            raise AnswerCut(100)

    (segment,) = [segment async for segment in segments(pieces(1), ask, None)]
    assert (segment.text, segment.temperature) == ("la", 0.4)


@pytest.mark.parametrize(
    ("texts", "whole"),
    [
        (["One.", " Two. ", "", "Three."], "One. Two. Three."),
        (["你好。", "今天天气很好", "是的"], "你好。今天天气很好是的"),
        (["안녕하세요.", "네."], "안녕하세요. 네."),
        (["Say", "你好", "again"], "Say你好again"),
    ],
)
def test_texts_are_joined_as_their_script_is_written(texts: list[str], whole: str) -> None:
    joiner = Joiner()
    assert "".join(map(joiner.add, texts)) == whole
