"""Runs the pieces in which an engine places a voice."""

from collections.abc import Generator
from typing import Generic, NamedTuple, TypeVar

from deployments.token2wav.engine_threads import Runner

V = TypeVar("V")


class _Placed(NamedTuple, Generic[V]):
    """What the last piece gives."""

    voice: V


def place_whole(pieces: Generator[None, None, V]) -> V:
    """Run all pieces, with no step between them. Returns the voice."""
    while (placed := _next_piece(pieces)) is None:
        pass
    return placed.voice


async def place_between_steps(pieces: Generator[None, None, V], steps: Runner) -> V:
    """Run each piece as a call of its own in the thread of the steps. Returns the voice.

    A step that is wanted during a piece runs after that piece, before the next.
    """
    while (placed := await steps.run(lambda: _next_piece(pieces))) is None:
        pass
    return placed.voice


def _next_piece(pieces: Generator[None, None, V]) -> _Placed[V] | None:
    try:
        next(pieces)
    except StopIteration as end:
        return _Placed(end.value)
    return None
