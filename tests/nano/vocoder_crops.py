"""What the vocoder is trained on: stretches of recordings with their mels and their pitch."""

from dataclasses import dataclass

import torch
from torch import Tensor

from deployments.token2wav.functional import SAMPLES_PER_FRAME
from tests.nano import pitch
from tests.nano.corpus.store import Bank
from tests.nano.vocoder_spectra import voice_mel

CROP_FRAMES = 48  # 0.96 s

_CONTEXT_FRAMES = 2  # skipped at a recording's start: the mel's window looks 720 samples back


@dataclass(frozen=True, slots=True)
class Crops:
    """A batch of stretches of recordings."""

    samples: Tensor  # [B, 480 T]
    mel: Tensor  # [B, 80, T], the frames that the whole recording has there
    pitch: Tensor  # [B, T] in Hz, 0 where unvoiced


class CropSampler:
    """Draws stretches uniformly out of all the recordings' time, on the recordings' device."""

    def __init__(self, bank: Bank, utterances: int, frames: int = CROP_FRAMES) -> None:
        """Of the first `utterances` of `bank`."""
        self._bank = bank
        self._frames = frames
        starts = bank.lengths[:utterances] // SAMPLES_PER_FRAME - _CONTEXT_FRAMES - frames
        self._starts = starts.clamp(min=1)  # too short a recording is followed by silence
        self._ends = self._starts.cumsum(0)
        self._total = int(self._ends[-1])

    def draw(self, batch: int) -> Crops:
        """A batch of crops. Nothing here waits for the device."""
        at = torch.randint(self._total, (batch,), device=self._ends.device)
        chosen = torch.searchsorted(self._ends, at, right=True)
        start = at - self._ends[chosen] + self._starts[chosen] + _CONTEXT_FRAMES
        return self.cut(chosen, start)

    def cut(self, chosen: Tensor, start: Tensor) -> Crops:
        """Of recordings `chosen` [B] the crops that begin at the frames `start` [B], 2 or more."""
        edge = pitch.CONTEXT
        count = self._frames * SAMPLES_PER_FRAME + 2 * edge
        samples = self._bank.slice(chosen, start * SAMPLES_PER_FRAME - edge, count)
        return Crops(samples[:, edge:-edge], voice_mel(samples), pitch.track_pitch(samples))
