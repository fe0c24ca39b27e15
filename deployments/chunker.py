"""Audio tokens → chunks: how many tokens each synthesis step consumes and how many it may see.

Pure arithmetic, shared by both stages: the Thinker sends what the next chunk needs, Token2Wav
synthesises it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as settings_dataclass

from deployments.wire import Wire

AUDIO_TOKEN_S = 0.04
VOCODER_HOLDS_S = 0.16  # its `OVERLAP_FRAMES`


@settings_dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class ChunkSchedule(Wire):
    """Sizes of the chunks of one stream, in audio tokens of 40 ms.

    The first chunks are small, so that sound starts early, and grow only as fast as what is
    already playing covers the making of the next; after `ramp` all are `steady`. `lookahead`
    more tokens are seen, not consumed, by every chunk but the last: as many as the flow's first
    convolution reaches ahead.

    A first chunk of n tokens plays (2n - 8) * 40 / 2 ms, since the vocoder holds 8 mel frames
    back. The default is what kept 128 streams on one GPU from underruns; with the lookahead
    its sums are multiples of the four audio tokens that the Thinker makes in one go.
    """

    ramp: tuple[Annotated[int, Field(ge=1)], ...] = (9, 8, 12, 16, 20)
    steady: Annotated[int, Field(ge=1)] = 25
    lookahead: Annotated[int, Field(ge=1)] = 3

    def sizes(self) -> Iterator[int]:
        """Tokens that each chunk consumes, without end."""
        return chain(self.ramp, repeat(self.steady))

    def size(self, index: int) -> int:
        """Tokens that the chunk of that index consumes."""
        return self.ramp[index] if index < len(self.ramp) else self.steady

    def duration_s(self, index: int) -> float:
        """Seconds of sound that come with the chunk of that index.

        The vocoder holds back a part of the first one, which comes with an answer's last chunk.
        """
        return max(self.size(index) * AUDIO_TOKEN_S - (VOCODER_HOLDS_S if index == 0 else 0.0), 0.0)


@dataclass(frozen=True, slots=True)
class Chunk:
    """One step's input: `tokens` holds the consumed ones and, unless `last`, the lookahead."""

    tokens: tuple[int, ...]
    last: bool


class Chunker:
    """Collects one stream's audio tokens and cuts them by a schedule."""

    def __init__(self, schedule: ChunkSchedule) -> None:
        self._lookahead = schedule.lookahead
        self._sizes = schedule.sizes()
        self._size = next(self._sizes)
        self._pending: list[int] = []

    @property
    def missing(self) -> int:
        """How many tokens the next chunk still lacks."""
        return max(0, self._size + self._lookahead - len(self._pending))

    def push(self, tokens: Iterable[int]) -> Iterator[Chunk]:
        """Take `tokens` in and yield every chunk that is now complete."""
        self._pending.extend(tokens)
        while not self.missing:
            yield Chunk(tuple(self._pending[: self._size + self._lookahead]), last=False)
            del self._pending[: self._size]
            self._size = next(self._sizes)

    def finish(self) -> Chunk | None:
        """The last chunk: all that is left, or None when the stream had no token at all."""
        left, self._pending = tuple(self._pending), []
        return Chunk(left, last=True) if left else None
