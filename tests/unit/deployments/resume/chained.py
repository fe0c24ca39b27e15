"""Engines whose every output depends on all that came before: a wrong resume changes the rest.

`ChainedThinker` draws each id from a hash of the request, of its chance and of all ids before it.
`ChainedSynthesizer` makes each chunk's samples of a hash of all ids and of all borders of chunks.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import lru_cache
from typing import Any

import numpy as np

from deployments.chunker import Chunk, Chunker, ChunkSchedule
from deployments.messages import (
    SAMPLES_PER_AUDIO_TOKEN,
    SpokenSoFar,
    ThinkerDelta,
    ThinkerRequest,
    Usage,
    Voice,
)

CODEBOOK_SIZE = 6561
END = CODEBOOK_SIZE  # the id that ends an answer
PROMPT_TOKENS = 7
LOUD_SAMPLES, LOUDNESS = 400, 8000  # of a token's 960; the numbers go up to 16384 above it


def digest(*values: object) -> int:
    return int.from_bytes(hashlib.blake2b(repr(values).encode(), digest_size=8).digest(), "big")


# What was drawn is remembered: the answers of many runs are the same.


@lru_cache(maxsize=10_000)
def drawn(request_id: str, chance: int, ids: tuple[int, ...]) -> int:
    """The id behind `ids`."""
    return digest(request_id, chance, ids) % CODEBOOK_SIZE


@lru_cache(maxsize=1000)
def sounding(chain: int, tokens: tuple[int, ...], last: bool, count: int) -> tuple[int, bytes]:
    """The next value of a stream's chain, and the sound of `count` tokens."""
    chain = digest(chain, tokens, last)
    # Each token is loud, by a number of its own, and then quiet: pauses have their place.
    seed, steps = np.uint64(chain), np.arange(count, dtype=np.uint64)
    numbers = (seed + steps * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(50)
    sound = np.zeros((count, SAMPLES_PER_AUDIO_TOKEN), "<i2")
    sound[:, :LOUD_SAMPLES] = (numbers + np.uint64(LOUDNESS)).astype("<i2")[:, None]
    return chain, sound.tobytes()


class ChainedThinker:
    """Answers `tokens` audio tokens, or that many characters.

    Deltas come as the chunks need them. The first one is too little for a chunk: Token2Wav passes
    it on without sound.
    """

    def __init__(self, tokens: int) -> None:
        self._tokens = tokens

    async def generate(self, request: ThinkerRequest) -> AsyncGenerator[ThinkerDelta]:
        speaks = request.reply == "speech"
        ids = list(request.made)
        chunker = Chunker(request.chunks) if speaks and request.chunks else None
        if chunker:
            list(chunker.push(ids))
        while END not in ids:
            offset, new = len(ids), []
            wanted = chunker.missing if chunker and ids else 1
            for _ in range(wanted):
                new.append(self._draw(request, [*ids, *new]))
                if new[-1] == END:
                    break
            ids += new
            audio = tuple(i for i in new if i != END)
            if chunker:
                list(chunker.push(audio))
            usage = None
            if new[-1] == END:
                usage = Usage(PROMPT_TOKENS, len(ids), len(ids) - 1 if speaks else 0)
            await asyncio.sleep(0)
            yield ThinkerDelta(
                text="" if speaks else "".join(map(chr, audio)),
                audio_tokens=audio if speaks else (),
                token_ids=audio,
                made=tuple(new),
                offset=offset,
                finish_reason="stop" if new[-1] == END else None,
                usage=usage,
            )
            if usage:
                return
        yield ThinkerDelta(
            offset=len(ids),
            finish_reason="stop",
            usage=Usage(PROMPT_TOKENS, len(ids), len(ids) - 1 if speaks else 0),
        )

    def _draw(self, request: ThinkerRequest, ids: list[int]) -> int:
        if len(ids) >= self._tokens:
            return END
        return drawn(request.request_id, request.chance, tuple(ids))


class ChainedStream:
    step_began_s: float | None = None

    def __init__(self, schedule: ChunkSchedule) -> None:
        self.schedule = schedule
        self._chain = 0

    def settle_schedule(self) -> ChunkSchedule:
        return self.schedule

    def play_at(self, speed: float) -> None:
        pass

    async def synthesize(self, chunk: Chunk) -> bytes:
        await asyncio.sleep(0)
        count = len(chunk.tokens) - (0 if chunk.last else self.schedule.lookahead)
        self._chain, sound = sounding(self._chain, chunk.tokens, chunk.last, count)
        return sound

    def close(self) -> None:
        pass


SCHEDULES = 6


@lru_cache
def own_schedule(number: int) -> ChunkSchedule:
    return ChunkSchedule(ramp=(3 + number % 3, 5), steady=6 + number % 2)


class ChainedSynthesizer:
    """A stream's schedule depends on how many were begun before, as under load."""

    def __init__(self, first: int = 0) -> None:
        self._begun = first
        self.number = first  # of the stream that was begun last, and did not go on

    async def open(
        self, voice: Voice, *, so_far: SpokenSoFar | None = None, **options: Any
    ) -> ChainedStream:
        self._begun += 1
        if so_far is not None:
            return ChainedStream(so_far.schedule)
        self.number = self._begun
        return ChainedStream(own_schedule(self._begun))


async def everything(deltas: AsyncGenerator) -> list:
    async with aclosing(deltas):
        return [delta async for delta in deltas]
