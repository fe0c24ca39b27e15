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
    NextPart,
    SpeechRequest,
    ThinkerDelta,
    ThinkerRequest,
    Usage,
)

Think = Callable[[ThinkerRequest], AsyncGenerator[ThinkerDelta]]
"""How the Thinker is asked: in this process, or through a handle. Closing it aborts the request."""

AHEAD_TOKENS = 10 * AUDIO_TOKENS_PER_SECOND
"""The next part is begun when fewer tokens than these wait to be spoken: 10 s of sound cover the
time to the first token of a busy Thinker. More are never made ahead than these and one part. No
next part is begun before the answer's first sound, which on a CPU would come later for it."""

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

    def ask(thinker: ThinkerRequest) -> AsyncGenerator[ThinkerDelta]:
        return think(replace(thinker, chunks=schedule))

    made = _Made()
    parts = [NextPart(request.thinker), *request.then]
    asking = asyncio.create_task(_ask_for_all(parts, ask, on_joint, made))
    try:
        while (delta := await made.take()) is not None:
            yield delta
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def _ask_for_all(
    parts: Sequence[NextPart], ask: Think, on_joint: OnJoint, made: "_Made"
) -> None:
    """Have one part made after the other, each when few tokens of those before it are left."""
    try:
        for part in parts:
            if part is not parts[0]:
                await made.until_few_are_left()
                on_joint(made.tokens, part.pause_s)
            goes_on = await _ask_for(part, ask, made, is_last=part is parts[-1])
            if not goes_on:
                break
        made.end()
    except BaseException as error:  # a cancellation by somebody else, too: `take` waits
        made.end(error)


async def _ask_for(part: NextPart, ask: Think, made: "_Made", *, is_last: bool) -> bool:
    """Have one part made; gives whether it ended where the next one can follow."""
    tokens, reason = made.tokens, None
    async with aclosing(ask(part.thinker)) as deltas:
        async for delta in deltas:
            reason = delta.finish_reason
            made.add(delta, ends=is_last or reason != "stop")
    if reason == "stop" and made.tokens == tokens:
        raise EngineFailed("the model gave no audio for a part of the text")
    return reason == "stop"


class _Made:
    """Deltas on their way from one task to another, which speaks one before it takes the next."""

    def __init__(self) -> None:
        self.tokens = 0  # audio tokens of all deltas
        self._taken = self._spoken = 0  # of these
        self._deltas: asyncio.Queue[ThinkerDelta | BaseException | None] = asyncio.Queue()
        self._few_left = asyncio.Event()
        self._usage = Usage(0, 0, answers=0)

    def add(self, delta: ThinkerDelta, *, ends: bool) -> None:
        """Add a delta; the last one of its part says how the answer `ends`, or nothing."""
        self.tokens += len(delta.audio_tokens)
        if delta.usage is not None:
            self._usage += delta.usage
            delta = replace(delta, usage=self._usage if ends else None)
        self._deltas.put_nowait(delta if ends else replace(delta, finish_reason=None))

    def end(self, error: BaseException | None = None) -> None:
        """There are no more deltas."""
        self._deltas.put_nowait(error)

    async def take(self) -> ThinkerDelta | None:
        """The next delta; None after the last. Raises the error that ended them."""
        self._spoken = self._taken
        if self._are_few_left:
            self._few_left.set()
        delta = await self._deltas.get()
        if isinstance(delta, BaseException):
            raise delta
        if delta is not None:
            self._taken += len(delta.audio_tokens)
        return delta

    async def until_few_are_left(self) -> None:
        """Return once there is a first sound, and little that waits to be spoken."""
        if not self._are_few_left:
            self._few_left.clear()
            await self._few_left.wait()

    @property
    def _are_few_left(self) -> bool:
        return self._spoken > 0 and self.tokens - self._spoken < AHEAD_TOKENS
