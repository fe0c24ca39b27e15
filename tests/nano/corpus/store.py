"""The corpus on disk and in a device's memory.

A folder of flat arrays: `speech.npy` (int16, 16 kHz), `sound.npy` (int16, 24 kHz), both all
utterances one behind the other, and `index.json`.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Kind = Literal["standard", "free"]


@dataclass(frozen=True, slots=True)
class Utterance:
    """One sentence, spoken once."""

    sentence: int  # index into the corpus's sentences
    speaker: int  # index into the corpus's speakers
    kind: Kind  # standard: at the rate that nano speaks; free: any rate and pitch
    rate_wpm: int
    pitch: int  # eSpeak's, 0 … 99


@dataclass(frozen=True)
class Corpus:
    """Sentences and how they sound. Arrays are memory-mapped."""

    sentences: list[str]
    speakers: list[str]  # eSpeak voices
    utterances: list[Utterance]
    speech: np.ndarray  # [total] int16, 16 kHz
    speech_starts: np.ndarray  # [utterances + 1] int64
    sound: np.ndarray  # [total] int16, 24 kHz
    sound_starts: np.ndarray  # [utterances + 1] int64

    @classmethod
    def open(cls, folder: Path) -> "Corpus":
        """Read what `save` wrote."""
        index = json.loads((folder / "index.json").read_text())
        return cls(
            sentences=index["sentences"],
            speakers=index["speakers"],
            utterances=[Utterance(**values) for values in index["utterances"]],
            speech=np.load(folder / "speech.npy", mmap_mode="r"),
            speech_starts=np.load(folder / "speech_starts.npy"),
            sound=np.load(folder / "sound.npy", mmap_mode="r"),
            sound_starts=np.load(folder / "sound_starts.npy"),
        )

    def save(self, folder: Path) -> None:
        """Write the folder that `open` reads."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("speech", "speech_starts", "sound", "sound_starts"):
            np.save(folder / f"{name}.npy", getattr(self, name))
        utterances = [asdict(utterance) for utterance in self.utterances]
        index = {"sentences": self.sentences, "speakers": self.speakers, "utterances": utterances}
        (folder / "index.json").write_text(json.dumps(index))

    def speech_bank(self, device: torch.device) -> "Bank":
        """All 16 kHz speech in the memory of `device`."""
        return Bank(self.speech, self.speech_starts, device)

    def sound_bank(self, device: torch.device) -> "Bank":
        """All 24 kHz sound in the memory of `device`."""
        return Bank(self.sound, self.sound_starts, device)


class Bank:
    """Many recordings in one tensor, from which batches are gathered on the device itself."""

    def __init__(self, samples: np.ndarray, starts: np.ndarray, device: torch.device) -> None:
        self._samples = torch.from_numpy(np.array(samples)).to(device)  # int16
        self._starts = torch.from_numpy(starts[:-1].copy()).to(device)
        self.lengths = torch.from_numpy(np.diff(starts)).to(device)  # [utterances] samples

    def gather(self, chosen: Tensor, *, multiple: int = 1) -> tuple[Tensor, Tensor]:
        """The recordings `chosen` [B], zero-padded to the longest, up to a multiple of samples.

        Returns:
            [B, N] float32 in -1 … 1 and [B] lengths in samples.
        """
        lengths = self.lengths[chosen]
        longest = -(-int(lengths.max()) // multiple) * multiple
        return self.slice(chosen, torch.zeros_like(lengths), longest), lengths

    def slice(self, chosen: Tensor, offsets: Tensor, count: int) -> Tensor:
        """`count` samples of each recording from its offset on, zeros past its end. [B, count]"""
        at = offsets[:, None] + torch.arange(count, device=offsets.device)
        inside = at < self.lengths[chosen][:, None]
        flat = (self._starts[chosen][:, None] + at).clamp_(max=len(self._samples) - 1)
        return self._samples[flat].float().mul_(inside).div_(32768.0)


def batches(lengths: Tensor, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Endless batches of `size` indices [size] whose lengths are alike, on the device of `lengths`.

    Every pass shuffles all, sorts within stretches of 64 batches, and shuffles the batches. The
    generator lives on the CPU. What does not fill a last batch sits a pass out.
    """
    on_cpu = lengths.cpu()
    count = len(on_cpu) // size * size
    if not count:
        raise ValueError(f"{len(on_cpu)} recordings make no batch of {size}")
    while True:
        order = torch.randperm(len(on_cpu), generator=generator)[:count]
        stretch = 64 * size
        for start in range(0, count, stretch):
            part = order[start : start + stretch]
            part = part[on_cpu[part].argsort()].view(-1, size)
            for row in torch.randperm(len(part), generator=generator):
                yield part[row].to(lengths.device)
