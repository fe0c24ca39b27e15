"""What the host knows of voices and streams with state on the GPU."""

import weakref
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from deployments.token2wav.functional.cfm import HISTORY_TAIL_FRAMES
from deployments.token2wav.functional.hift import SAMPLES_PER_FRAME
from deployments.token2wav.functional.hift_stream import OVERLAP_FRAMES
from deployments.token2wav.resident.block_history import (
    FrameHistory,
    PromptLayout,
    TokenHistory,
    blocks_for,
)
from deployments.token2wav.resident.kernels.attention import BLOCK
from deployments.token2wav.resident.memory import Needs
from deployments.token2wav.resident.places import Place
from deployments.token2wav.resident.step_rows import NOWHERE, StepRows

HostRows = dict[str, NDArray[np.int32]]


@dataclass(slots=True, eq=False, weakref_slot=True)
class ResidentVoice:
    """A voice: what it is made from, and, while it is resident, where it lies."""

    codes: Tensor  # [P] int64 on the CPU
    embedding: Tensor  # [spk_embed_dim]
    mel: Tensor  # [2P, mels]
    frames_per_token: int
    place: Place | None = None
    prepared: bool = False  # whether `place` holds the prompt's past already
    streams: int = 0  # open ones

    @property
    def layout(self) -> PromptLayout:
        frames = len(self.codes) * self.frames_per_token
        return PromptLayout.of(frames, kept_tail=HISTORY_TAIL_FRAMES, block=BLOCK)


def voice_needs(codes: int, frames_per_token: int) -> Needs:
    """What a voice of `codes` audio tokens takes."""
    return Needs(blocks_for(codes * frames_per_token, BLOCK), blocks_for(codes, BLOCK), 1)


def stream_needs(codes: int, frames_per_token: int, history_tokens: int) -> Needs:
    """What a stream takes in a voice of `codes` audio tokens."""
    frames = FrameHistory.own_capacity(codes * frames_per_token, kept_tail=HISTORY_TAIL_FRAMES)
    return Needs(blocks_for(frames, BLOCK), blocks_for(history_tokens, BLOCK), 2)


@dataclass(slots=True, eq=False, weakref_slot=True)
class ResidentStream:
    """One stream. A step moves it on in place: it is the same value before and after."""

    voice: ResidentVoice
    place: Place
    frames: FrameHistory
    tokens: TokenHistory
    solver_blocks: NDArray[np.int32]  # the voice's, then its own: its address space
    voice_place: Place
    steps: int = 0
    spoken_frames: int = 0
    held_frames: int = 0
    open: bool = True
    watch: weakref.finalize | None = None  # gives `place` back

    @classmethod
    def begin(cls, voice: ResidentVoice, place: Place) -> "ResidentStream":
        """A stream at its beginning, in a voice that keeps its place while this one is open."""
        assert voice.place is not None
        return cls(
            voice=voice,
            place=place,
            frames=FrameHistory(voice.layout, kept_tail=HISTORY_TAIL_FRAMES),
            tokens=TokenHistory(len(voice.codes), place.encoder_blocks, BLOCK),
            solver_blocks=np.asarray(voice.place.solver_blocks + place.solver_blocks, np.int32),
            voice_place=voice.place,
        )

    def enter(self, host: HostRows, row: int, tokens: Sequence[int], count: int) -> None:
        """Write this stream's row of a step and move the host's side on.

        Args:
            tokens: consumed ones and lookahead; `count` of them are consumed.
        """
        frames, history = self.frames, self.tokens
        own, shared = self.place, self.voice_place
        length = count * self.voice.frames_per_token
        host["table"][row, : len(self.solver_blocks)] = self.solver_blocks
        host["spans"][row] = (frames.head, frames.tail_begin, frames.own_end)
        host["offsets"][row] = frames.frames
        addresses = frames.append(length)
        places = self.solver_blocks[addresses // BLOCK] * BLOCK + addresses % BLOCK
        places[addresses < 0] = NOWHERE
        host["places"][row, :length] = places
        host["lengths"][row] = length
        read = own.slots[(self.steps - 1) % 2] if self.steps else shared.slots[0]
        host["slots"][row] = (read, own.slots[self.steps % 2])
        host["voices"][row] = shared.slots[0]
        host["tokens"][row, : len(tokens)] = tokens

        # before the table: it may turn blocks over
        host["encoder_places"][row, :count] = history.append(count)
        begin = len(shared.encoder_blocks)
        host["encoder_table"][row, :begin] = shared.encoder_blocks
        host["encoder_table"][row, begin : begin + len(history.blocks)] = history.blocks
        begin *= BLOCK
        host["encoder_spans"][row] = (
            history.prompt_tokens, begin, begin + history.own - count
        )  # fmt: skip

        host["held"][row] = self.held_frames
        host["positions"][row] = (self.spoken_frames - self.held_frames) * SAMPLES_PER_FRAME
        self.spoken_frames += length
        self.held_frames = min(OVERLAP_FRAMES, self.held_frames + length)
        self.steps += 1


def enter_voice(voice: ResidentVoice, place: Place, rows: StepRows, lookahead: int) -> None:
    """Write the row of a step that prepares a voice into `place`."""
    host, count = rows.host, len(voice.codes)
    frames = count * voice.frames_per_token
    blocks = np.asarray(place.solver_blocks, np.int32)
    addresses = voice.layout.addresses()
    host["table"][0, : len(blocks)] = blocks
    host["places"][0, :frames] = blocks[addresses // BLOCK] * BLOCK + addresses % BLOCK
    host["lengths"][0] = frames
    host["slots"][0] = (0, place.slots[0])
    host["voices"][0] = place.slots[0]
    # The prompt's end has no lookahead of its own: its first codes stand in, as officially.
    codes = voice.codes.numpy()
    host["tokens"][0] = np.concatenate((codes, codes[:lookahead]))
    blocks = np.asarray(place.encoder_blocks, np.int32)
    at = np.arange(count)
    host["encoder_places"][0, :count] = blocks[at // BLOCK] * BLOCK + at % BLOCK
