"""What every caller of the graph does with an answer's deltas."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeVar

from deployments.errors import AnswerCut, AnswerSilent, EngineFailed, UnsupportedRequest
from deployments.messages import SpeechDelta, ThinkerDelta

Delta = ThinkerDelta | SpeechDelta
D = TypeVar("D", ThinkerDelta, SpeechDelta)


async def complete(deltas: AsyncGenerator[D]) -> AsyncGenerator[D]:
    """`deltas` unchanged, but an answer that ends early is an error, never a short answer.

    Raises:
        EngineFailed: the answer was aborted, or stopped without a `finish_reason`.
    """
    finish_reason = None
    async with aclosing(deltas):
        async for delta in deltas:
            if delta.finish_reason == "abort":
                break
            finish_reason = delta.finish_reason
            yield delta
    if finish_reason is None:
        raise EngineFailed("the answer was cut short")


async def uncut(deltas: AsyncGenerator[D]) -> AsyncGenerator[D]:
    """`complete` deltas of an answer that is useless without its end.

    Raises:
        EngineFailed: as `complete` does.
        AnswerCut: it reached its limit of tokens; raised after its last delta.
    """
    async with aclosing(complete(deltas)) as whole:
        async for delta in whole:
            yield delta
            if delta.finish_reason == "length":
                raise AnswerCut(delta.usage.completion_tokens if delta.usage else 0)


async def audible(deltas: AsyncGenerator[SpeechDelta], what: str) -> AsyncGenerator[SpeechDelta]:
    """`deltas` of an answer that is useless without a sound; `what` it was to say.

    Raises:
        AnswerSilent: it had none; raised after its last delta.
    """
    heard = False
    async with aclosing(deltas):
        async for delta in deltas:
            heard = heard or bool(delta.pcm)
            yield delta
    if not heard:
        raise AnswerSilent(what)


def text_only() -> UnsupportedRequest:
    """What a graph without Token2Wav says to everything that needs one."""
    return UnsupportedRequest("this server answers in text only: it runs no Token2Wav")


async def all_of(deltas: AsyncGenerator[D], answers: int) -> AsyncGenerator[D]:
    """`deltas` of an answer in parts, of which none may be missing.

    A stage of an older version knows of no parts but the first: while a server is updated, it
    answers that alone.

    Raises:
        EngineFailed: fewer than `answers` of the Thinker are in the answer's usage.
    """
    async with aclosing(deltas):
        async for delta in deltas:
            yield delta
            if delta.finish_reason and delta.usage and delta.usage.answers < answers:
                raise EngineFailed("only the beginning of the text was spoken")
