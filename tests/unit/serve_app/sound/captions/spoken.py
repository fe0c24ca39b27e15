"""Texts that were spoken, with the times of their words, as sound: noise as loud as the speech."""

import base64
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from serve_app.sound.captions.loudness import HOP_S, HOP_SAMPLES

SPOKEN = Path(__file__).parent / "spoken.json"


@dataclass(frozen=True)
class Spoken:
    voice: str
    text: str
    starts_s: dict[int, float]  # of the word that begins at a character
    levels: np.ndarray  # [H], of full scale

    @cached_property
    def pcm(self) -> bytes:
        noise = np.random.default_rng(1).normal(0, 1, (len(self.levels), HOP_SAMPLES))
        samples = noise * self.levels[:, None] * 32768
        return np.clip(samples, -32768, 32767).astype("<i2").tobytes()

    @property
    def seconds(self) -> float:
        return len(self.levels) * HOP_S


def spoken() -> list[Spoken]:
    """All of them."""
    return [
        Spoken(
            clip["voice"],
            clip["text"],
            {character: start_s for character, start_s in clip["words"]},
            10 ** (np.frombuffer(base64.b64decode(clip["levels"]), np.uint8) / -20),
        )
        for clip in json.loads(SPOKEN.read_text())["clips"]
    ]
