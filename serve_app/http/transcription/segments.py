"""Pieces of a recording -> what is said in each, in order; several are asked about at once."""

import asyncio
import zlib
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TypeVar

from deployments.errors import AnswerCut
from deployments.messages import ThinkerDelta, Usage
from serve_app.http.transcription.joining import Joiner
from serve_app.sound.recording_pieces import Piece

# An hour has about 900 pieces. Eight at once keep a GPU busy, and are few among its live streams.
AT_ONCE = 8
# As whisper's: where the likeliest tokens repeat themselves without end, others may not.
FALLBACK_TEMPERATURES = (0.4, 0.8)
T = TypeVar("T")
R = TypeVar("R")
Ask = Callable[[Piece, int, float], AsyncGenerator[ThinkerDelta]]
"""The answer about a piece, from its number and the temperature; it raises AnswerCut."""


@dataclass(frozen=True, slots=True)
class Segment:
    """What was said in one piece."""

    start_s: float
    end_s: float
    text: str  # with the space before it: all texts joined are the transcript
    token_ids: tuple[int, ...]
    temperature: float
    no_speech_prob: float
    usage: Usage

    @property
    def compression_ratio(self) -> float:
        """Of its text; that of a transcript which repeats itself is above 2.4."""
        data = self.text.strip().encode()
        return len(data) / len(zlib.compress(data))


async def segments(
    pieces: AsyncGenerator[Piece], ask: Ask, temperature: float | None
) -> AsyncGenerator[Segment]:
    """The segments of a recording, without those that say nothing.

    Args:
        temperature: None or 0 takes the likeliest tokens, and others where those have no end, as
            OpenAI's does.

    Raises:
        AnswerCut: an answer has no end at any temperature.
    """
    temperatures = (temperature,) if temperature else (0.0, *FALLBACK_TEMPERATURES)

    async def write(piece: Piece, number: int) -> Segment:
        return await _segment(piece, number, ask, temperatures)

    joiner = Joiner()
    async with aclosing(in_order(pieces, write, AT_ONCE)) as written:
        async for segment in written:
            if text := joiner.add(segment.text):
                yield replace(segment, text=text)


async def _segment(piece: Piece, number: int, ask: Ask, temperatures: Sequence[float]) -> Segment:
    for temperature in temperatures:
        try:
            async with aclosing(ask(piece, number, temperature)) as answer:
                deltas = [delta async for delta in answer]
            break
        except AnswerCut:
            if temperature == temperatures[-1]:
                raise
    return Segment(
        start_s=piece.start_s,
        end_s=piece.end_s,
        text="".join(delta.text for delta in deltas),
        token_ids=tuple(token_id for delta in deltas for token_id in delta.token_ids),
        temperature=temperature,
        no_speech_prob=1.0 - piece.speech_probability,
        usage=total_usage(deltas),
    )


def total_usage(deltas: Sequence[ThinkerDelta]) -> Usage:
    """Of one answer, or of several."""
    usages = [delta.usage for delta in deltas if delta.usage]
    return Usage(
        prompt_tokens=sum(usage.prompt_tokens for usage in usages),
        completion_tokens=sum(usage.completion_tokens for usage in usages),
    )


async def in_order(
    items: AsyncGenerator[T], work: Callable[[T, int], Awaitable[R]], at_once: int
) -> AsyncGenerator[R]:
    """The results of `work` on each of the `items` and its number, in their order.

    No more than `at_once` are at work or wait for their turn. All are cancelled when the generator
    is closed, and when one fails.
    """
    running: deque[asyncio.Future[R]] = deque()
    number = 0
    try:
        async with aclosing(items):
            async for item in items:
                running.append(asyncio.ensure_future(work(item, number)))
                number += 1
                while running and (len(running) == at_once or running[0].done()):
                    yield await running[0]
                    running.popleft()
        while running:
            yield await running[0]
            running.popleft()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
