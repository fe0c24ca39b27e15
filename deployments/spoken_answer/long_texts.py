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
from deployments.errors import AnswerSilent
from deployments.messages import (
    AUDIO_TOKENS_PER_SECOND,
    NextPart,
    PartSoFar,
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


async def from_the_beginning(
    request: SpeechRequest, schedule: ChunkSchedule, think: Think
) -> AsyncGenerator[ThinkerDelta]:
    """The deltas of an answer in one part.

    What the Thinker had made before a replica was lost comes first, as one delta.
    """
    thinker = replace(request.thinker, chunks=schedule)
    if request.so_far is not None:
        (part,) = request.so_far.parts
        thinker = replace(thinker, made=part.made)
        yield ThinkerDelta(audio_tokens=part.audio_tokens)
    async with aclosing(think(thinker)) as deltas:
        async for delta in deltas:
            yield delta


async def in_turn(
    request: SpeechRequest, schedule: ChunkSchedule, think: Think, on_joint: OnJoint
) -> AsyncGenerator[ThinkerDelta]:
    """The deltas of all parts of `request` as those of one answer, whose usage is their sum.

    The last delta of a part has the usage up to there. What the Thinker had made before a replica
    was lost comes first, as one delta a part. A part that does not end with `stop` is the last one.
    However this ends, no part is being made any more.

    Raises:
        AnswerSilent: the Thinker made no sound of a part.
    """

    def ask(thinker: ThinkerRequest) -> AsyncGenerator[ThinkerDelta]:
        return think(replace(thinker, chunks=schedule))

    parts = [NextPart(request.thinker), *request.then]
    made = _Made(request.so_far.usage if request.so_far else None)
    so_far = request.so_far.parts if request.so_far else ()
    asking = asyncio.create_task(_ask_for_all(parts, ask, on_joint, made, so_far))
    try:
        while (delta := await made.take()) is not None:
            yield delta
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def _ask_for_all(
    parts: Sequence[NextPart],
    ask: Think,
    on_joint: OnJoint,
    made: "_Made",
    so_far: Sequence[PartSoFar],
) -> None:
    """Have one part made after the other, each when few tokens of those before it are left."""
    try:
        for number, part in enumerate(parts):
            begun = so_far[number] if number < len(so_far) else None
            if number:
                if begun is None:
                    await made.until_few_are_left()
                on_joint(made.tokens, part.pause_s)
            if begun is not None:
                made.add(ThinkerDelta(audio_tokens=begun.audio_tokens, part=number))
            if number + 1 < len(so_far):
                continue
            thinker = replace(part.thinker, made=begun.made) if begun else part.thinker
            before = made.tokens - len(begun.audio_tokens if begun else ())
            is_last = part is parts[-1]
            if not await _ask_for(number, thinker, ask, made, before, is_last=is_last):
                break
        made.end()
    except BaseException as error:  # a cancellation by somebody else, too: `take` waits
        made.end(error)


async def _ask_for(
    number: int, thinker: ThinkerRequest, ask: Think, made: "_Made", before: int, *, is_last: bool
) -> bool:
    """Have the part of that number made; gives whether it ended where the next one can follow.

    Args:
        before: audio tokens of the parts before it.

    Raises:
        AnswerSilent: it ended without a sound. Nobody has been told then that it ended.
    """
    reason = None
    async with aclosing(ask(thinker)) as deltas:
        async for delta in deltas:
            reason = delta.finish_reason
            if reason == "stop" and made.tokens + len(delta.audio_tokens) == before:
                raise AnswerSilent("a part of the text")
            made.add(replace(delta, part=number), ends=is_last or reason != "stop")
    return reason == "stop"


class _Made:
    """Deltas on their way from one task to another, which speaks one before it takes the next."""

    def __init__(self, usage: Usage | None) -> None:
        """`usage`: of the parts that are complete already."""
        self.tokens = 0  # audio tokens of all deltas
        self._taken = self._spoken = 0  # of these
        self._deltas: asyncio.Queue[ThinkerDelta | BaseException | None] = asyncio.Queue()
        self._few_left = asyncio.Event()
        self._usage = usage or Usage(0, 0, answers=0)

    def add(self, delta: ThinkerDelta, *, ends: bool = False) -> None:
        """Add a delta; the last one of its part says how the answer `ends`, or nothing."""
        self.tokens += len(delta.audio_tokens)
        if delta.usage is not None:
            self._usage += delta.usage
            delta = replace(delta, usage=self._usage)
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
