"""A spoken answer in parts: the Thinker makes the next part while this one is spoken.

A long text is more than a model speaks well in one go, and perhaps more than its context holds. Its
parts are answers of their own to the Thinker; to Token2Wav their tokens are one stream, in one
voice, without a seam.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace

from deployments.chunker import ChunkSchedule
from deployments.errors import EngineFailed
from deployments.messages import (
    AUDIO_TOKENS_PER_SECOND,
    Continuation,
    SpeechRequest,
    ThinkerDelta,
    ThinkerRequest,
    Usage,
)

Think = Callable[[ThinkerRequest], AsyncGenerator[ThinkerDelta]]
"""How the Thinker is asked: in this process, or through a handle. Closing it aborts the request."""

AHEAD_TOKENS = 10 * AUDIO_TOKENS_PER_SECOND
"""The next part is begun when fewer tokens than these wait to be spoken: 10 s of sound cover the
time to the first token of a busy Thinker. More are never made ahead than these and one part."""

OnJoint = Callable[[int, float], None]
"""Gets the audio tokens before a joint, and the quiet in seconds that it should have. It is called
before the tokens after the joint are handed out."""


async def in_turn(
    request: SpeechRequest, schedule: ChunkSchedule, think: Think, on_joint: OnJoint
) -> AsyncGenerator[ThinkerDelta]:
    """The deltas of all parts of `request` as those of one answer, whose usage is their sum.

    A part that does not end with `stop` is the last one. However this ends, no part is being made
    any more.

    Raises:
        EngineFailed: the Thinker made no sound of a part.
    """
    parts = [Continuation(request.thinker), *request.then]
    made = _Made()
    asking = asyncio.create_task(_ask(parts, schedule, think, on_joint, made))
    try:
        while (delta := await made.take()) is not None:
            yield delta
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def _ask(
    parts: Sequence[Continuation],
    schedule: ChunkSchedule,
    think: Think,
    on_joint: OnJoint,
    made: "_Made",
) -> None:
    """Have one part made after the other, each when few tokens of those before it are left."""
    try:
        usage, tokens = Usage(0, 0, answers=0), 0
        for number, part in enumerate(parts, 1):
            await made.until_few_are_left()
            if number > 1:
                on_joint(tokens, part.pause_s)
            before, reason = tokens, None
            async with aclosing(think(replace(part.thinker, chunks=schedule))) as deltas:
                async for delta in deltas:
                    tokens += len(delta.audio_tokens)
                    reason = delta.finish_reason
                    if delta.usage is not None:
                        usage += delta.usage
                    goes_on = reason == "stop" and number < len(parts)
                    made.add(_as_one(delta, usage, goes_on=goes_on))
            if reason != "stop":
                break
            if tokens == before:
                raise EngineFailed("the model gave no audio for a part of the text")
        made.end()
    except BaseException as error:  # a cancellation by somebody else, too: `take` waits
        made.end(error)


def _as_one(delta: ThinkerDelta, usage: Usage, *, goes_on: bool) -> ThinkerDelta:
    if goes_on:
        return replace(delta, finish_reason=None, usage=None)
    return delta if delta.usage is None else replace(delta, usage=usage)


class _Made:
    """Deltas on their way from one task to another."""

    def __init__(self) -> None:
        self._deltas: asyncio.Queue[ThinkerDelta | BaseException | None] = asyncio.Queue()
        self._tokens = 0  # that were added and not taken
        self._few = asyncio.Event()
        self._few.set()

    def add(self, delta: ThinkerDelta) -> None:
        self._count(len(delta.audio_tokens))
        self._deltas.put_nowait(delta)

    def end(self, error: BaseException | None = None) -> None:
        self._deltas.put_nowait(error)

    async def take(self) -> ThinkerDelta | None:
        """The next delta; None after the last. Raises the error that ended them."""
        delta = await self._deltas.get()
        if isinstance(delta, BaseException):
            raise delta
        if delta is not None:
            self._count(-len(delta.audio_tokens))
        return delta

    async def until_few_are_left(self) -> None:
        await self._few.wait()

    def _count(self, tokens: int) -> None:
        self._tokens += tokens
        if self._tokens < AHEAD_TOKENS:
            self._few.set()
        else:
            self._few.clear()
