"""Where a stream's frames lie in its resident blocks; pure arithmetic on the host.

The official package keeps a stream's history newest chunk first, `[c_k … c_1, prompt]`, and once
it is longer than the prompt plus 100 frames keeps its first `prompt` and its last 100. Attention
does not care about the order of keys, so a frame is never moved here: what that rule drops is
overwritten by what it adds, and the rule's order lives in a small array of addresses.

A stream's address space is its prompt's blocks, shared with every stream of that voice and never
written, followed by blocks of its own:

    [ prompt's head … | gap | … prompt's last 100 | own frames … ]
      0 … head                tail_begin … own_end

The rule drops prompt frames from the head's end on, so what is valid stays two ranges.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Addresses = NDArray[np.int32]


def blocks_for(items: int, block: int) -> int:
    """How many blocks of `block` items hold `items`."""
    return -(-items // block)


@dataclass(frozen=True, slots=True)
class PromptLayout:
    """Addresses of a prompt's frames: its last `tail` end with the last block."""

    frames: int
    tail: int  # frames that the rule never drops
    block: int  # frames a block

    @classmethod
    def of(cls, frames: int, *, kept_tail: int, block: int) -> "PromptLayout":
        return cls(frames, min(frames, kept_tail), block)

    @property
    def blocks(self) -> int:
        return blocks_for(self.frames, self.block)

    @property
    def end(self) -> int:
        """The address after the last, where own frames begin."""
        return self.blocks * self.block

    @property
    def head(self) -> int:
        return self.frames - self.tail

    def addresses(self) -> Addresses:
        """The address of each frame of the prompt. [frames]"""
        head = np.arange(self.head, dtype=np.int32)
        tail = np.arange(self.end - self.tail, self.end, dtype=np.int32)
        return np.concatenate((head, tail))


class FrameHistory:
    """One stream's DiT history: what is valid, and where new frames go."""

    def __init__(self, layout: PromptLayout, *, kept_tail: int) -> None:
        self._layout = layout
        self._kept_tail = kept_tail
        self._order = np.empty(0, np.int32)  # own addresses as the rule orders them
        self.head = layout.head
        self.own = 0

    @staticmethod
    def own_capacity(prompt_frames: int, *, kept_tail: int) -> int:
        """The most own frames that a stream ever keeps."""
        return max(prompt_frames, kept_tail)

    @property
    def tail_begin(self) -> int:
        return self._layout.end - self._layout.tail

    @property
    def own_end(self) -> int:
        return self._layout.end + self.own

    @property
    def frames(self) -> int:
        """Valid frames, the prompt's included; also the position of the next chunk's noise."""
        return self.head + self._layout.tail + self.own

    def append(self, count: int) -> Addresses:
        """Take `count` new frames in, apply the rule, and say where each one goes.

        Returns:
            [count] addresses; -1 where the rule drops a new frame at once.
        """
        prompt, kept = self._layout.frames, self._kept_tail
        # ids: new frames -1-i, own frames their address
        own = np.concatenate((-1 - np.arange(count, dtype=np.int32), self._order))
        total = len(own) + self.head + self._layout.tail
        dropped = np.empty(0, np.int32)
        if total > prompt + kept:
            begin, end = prompt, total - kept  # the places in the order that are dropped
            dropped = own[begin:end]
            from_head = max(0, min(end, len(own) + self.head) - max(begin, len(own)))
            self.head -= from_head
            own = np.concatenate((own[:begin], own[end:])) if begin < len(own) else own
        written = np.full(count, -1, np.int32)
        survivors = np.flatnonzero(own < 0)
        freed = dropped[dropped >= 0]
        fresh = self._layout.end + self.own + np.arange(len(survivors) - len(freed), dtype=np.int32)
        self.own += len(fresh)
        places = np.concatenate((freed, fresh))
        written[-1 - own[survivors]] = places
        own[survivors] = places
        self._order = own
        return written


class TokenHistory:
    """One stream's encoder history: appended to; when full, the oldest own block drops out.

    The official package lets it grow without end. Here the prompt stays, and of the stream's
    own tokens at least `(blocks - 1) * block` of the newest. Positions are places in the order
    of what is kept, so that they never exceed what the tables hold.
    """

    def __init__(self, prompt_tokens: int, own_blocks: list[int], block: int) -> None:
        self.prompt_tokens = prompt_tokens
        self.own = 0
        self._blocks = np.asarray(own_blocks, np.int32)
        self._block = block

    @property
    def blocks(self) -> Addresses:
        """Own blocks, the oldest tokens' first."""
        return self._blocks

    def append(self, count: int) -> Addresses:
        """Take `count` new tokens in. Returns `block id * block + place` of each. [count]

        Call before the step: what drops out is not seen by it.

        Raises:
            ValueError: more new tokens than the own blocks hold.
        """
        capacity = len(self._blocks) * self._block
        if count > capacity:
            raise ValueError(f"{count} tokens do not fit a history of {capacity}")
        while self.own + count > capacity:
            self._blocks = np.roll(self._blocks, -1)
            self.own = max(0, self.own - self._block)
        at = np.arange(self.own, self.own + count, dtype=np.int32)
        self.own += count
        return self._blocks[at // self._block] * self._block + at % self._block
