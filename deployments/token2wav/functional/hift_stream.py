"""HiFT over a stream: overlapping chunks, cross-faded.

Each chunk is vocoded together with the last 8 mel frames before it; its output for these frames is
faded in over what the chunk before said, and its own last 8 frames are held back for the next.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from deployments.token2wav.functional.hift import SAMPLES_PER_FRAME, Hift
from deployments.token2wav.functional.source import SourceNoise

OVERLAP_FRAMES = 8  # 160 ms


@dataclass(frozen=True, slots=True, eq=False)
class HiftState:
    """The held-back end of one stream: up to 8 frames, fewer if it was never longer."""

    mel: Tensor  # [m, mels]
    source: Tensor  # [480 m]
    samples: Tensor  # [480 m]
    frame: int  # position of `mel` in the stream

    @classmethod
    def empty(cls, hift: Hift) -> "HiftState":
        """The state of a stream that has said nothing."""
        like = hift.m_source.l_linear.weight
        return cls(like.new_zeros(0, hift.config.mels), like.new_zeros(0), like.new_zeros(0), 0)


@dataclass(frozen=True, slots=True, eq=False)
class HiftInput:
    """One stream's next mel frames."""

    mel: Tensor  # [t, mels]
    last: bool
    state: HiftState


class Vocoder:
    """Runs a `Hift` with fixed weights."""

    def __init__(self, hift: Hift, *, seed: int) -> None:
        self.hift = hift
        self.noise = SourceNoise(
            hift.config.harmonics, seed=seed, device=hift.m_source.l_linear.weight.device
        )

    @torch.inference_mode()
    def step(self, rows: Sequence[HiftInput]) -> tuple[list[Tensor], list[HiftState]]:
        """Vocode one chunk of every stream.

        Only rows of equal length share a batch: the convolutions and the STFT of a chunk see
        its end, so padding would change it.

        Returns:
            New samples [n] of each row, 480 a frame over the whole stream, and the next states.
        """
        groups: dict[int, list[int]] = defaultdict(list)
        for index, row in enumerate(rows):
            groups[len(row.state.mel) + len(row.mel)].append(index)
        samples: dict[int, Tensor] = {}
        states: dict[int, HiftState] = {}
        for indices in groups.values():
            vocoded = self._vocode([rows[index] for index in indices])
            for index, (mel, source, sound) in zip(indices, vocoded, strict=True):
                samples[index], states[index] = emit(rows[index], mel, source, sound)
        order = range(len(rows))
        return [samples[index] for index in order], [states[index] for index in order]

    @torch.inference_mode()
    def whole(self, mel: Tensor) -> Tensor:
        """Vocode a whole utterance at once. [T, mels] -> [480 T]"""
        batch = mel.to(self.hift.window.dtype).T[None]
        noise = self.noise.at(0, len(mel) * SAMPLES_PER_FRAME)[None]
        return self.hift.decode(batch, self.hift.excite(batch, noise))[0]

    def _vocode(self, rows: list[HiftInput]) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Mel [T, mels], source [480 T] and samples [480 T] of rows of one length."""
        mels = torch.stack([torch.cat((row.state.mel, row.mel)) for row in rows])
        count = mels.shape[1] * SAMPLES_PER_FRAME
        noise = [self.noise.at(row.state.frame * SAMPLES_PER_FRAME, count) for row in rows]
        batch = mels.transpose(1, 2)
        source = self.hift.excite(batch, torch.stack(noise))
        for index, row in enumerate(rows):
            # the overlap's own source again: a new one would have another phase
            source[index, 0, : len(row.state.source)] = row.state.source
        sound = self.hift.decode(batch, source)
        return list(zip(mels, source[:, 0], sound, strict=True))


def emit(row: HiftInput, mel: Tensor, source: Tensor, sound: Tensor) -> tuple[Tensor, HiftState]:
    """Cross-fade the beginning, hold back the end unless it is the stream's.

    Args:
        row: the chunk and the overlap before it.
        mel, source, sound: [T, mels], [480 T], [480 T] of the overlap and the chunk together.

    Returns:
        The samples to play now, and the state for the next chunk.
    """
    past = row.state.samples
    overlap = len(past)
    if overlap:
        window = torch.hamming_window(
            2 * overlap, periodic=False, dtype=torch.float64, device=sound.device
        )
        faded = sound[:overlap] * window[:overlap] + past * window[overlap:]
        sound = torch.cat((faded.to(sound.dtype), sound[overlap:]))
    held_frames = min(OVERLAP_FRAMES, len(mel))
    held = held_frames * SAMPLES_PER_FRAME
    begin, end = len(mel) - held_frames, len(sound) - held
    # clones: a view would keep the whole chunk, and its batch, alive
    state = HiftState(
        mel[begin:].clone(), source[end:].clone(), sound[end:].clone(), row.state.frame + begin
    )
    return (sound if row.last else sound[:end]), state
