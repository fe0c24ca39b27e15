"""Turns with a pause in them, made of recordings of one sentence each.

The pause is put where the sentence has its mark (`|`, `||`): at the time that `cuts.txt` names, or
else at the quietest place near it. A sentence without a mark is cut at the quietest place of its
middle. What silence the recording has there is replaced. So the voice before a pause is that of a
speaker who reads on; a speaker who hesitates also slows down.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from serve_app.sound.voice_activity import RATE_HZ
from tests.nano.recordings import FOLDER as NANO

PAUSES_MS = (400, 1500)
LEAD_S, TAIL_S = 1.0, 5.0
PEAKS_DB = (-16.0, -3.0)
SNRS_DB = (20.0, 45.0)
SOFTEST = 10 ** (-35 / 20)  # below a recording's loudest moment: what is softer is its silence
HOP = RATE_HZ // 200  # 5 ms
FADE = RATE_HZ // 200
FILLERS = re.compile(r"\b(um|uh|well),?\s*$")
CUT_S = (-0.12, 0.06)  # around the time of a mark
AROUND = 0.18  # of a sentence: how far from its mark, by letters, the cut is looked for


@dataclass(frozen=True, slots=True)
class Recording:
    """A sentence as it was spoken, without silence around it."""

    name: str
    text: str  # with a mark where a pause may be: `|`, or `||` where a sentence could end
    samples: np.ndarray  # [N] float32 at 16 kHz
    cut_s: float | None = None

    @property
    def kind(self) -> str:
        """Where the pause is: the words before it could end a turn, or they could not."""
        before, mark, after = self.text.partition("|")
        if not mark:
            return "anywhere"
        if FILLERS.search(before):
            return "after a filler"
        return "after complete words" if after.startswith("|") else "after incomplete words"


@dataclass(frozen=True, slots=True)
class TurnSound:
    """A turn: noise, the first part, a pause, the second part, noise."""

    recording: str
    kind: str
    text: str
    samples: np.ndarray  # [N] float32 at 16 kHz
    start_ms: int
    pause_from_ms: int
    pause_ms: int
    end_ms: int
    snr_db: float
    peak_db: float


def recordings(folder: Path) -> list[Recording]:
    """The `NNN.wav` or `NNN.ogg` of a folder with its `sentences.txt`, and `cuts.txt` if there."""
    return _recordings(folder, None)


def nano(count: int | None = None) -> list[Recording]:
    """The recordings in the repository: eSpeak's voices, without marks."""
    return _recordings(NANO, count)


def _recordings(folder: Path, count: int | None) -> list[Recording]:
    cuts = folder / "cuts.txt"
    at = cuts.read_text(encoding="utf-8").splitlines() if cuts.exists() else []
    lines = (folder / "sentences.txt").read_text(encoding="utf-8").splitlines()
    files = {path.stem: path for path in folder.iterdir() if path.suffix in (".wav", ".ogg")}
    found = []
    for stem in sorted(files)[:count]:
        samples, skipped_s = _trimmed(_read(files[stem]))
        cut = at[int(stem)] if at else ""
        cut_s = float(cut) - skipped_s if cut else None
        found.append(Recording(f"{folder.name}/{stem}", lines[int(stem)], samples, cut_s))
    return found


def turns(spoken: list[Recording], count: int, seed: int) -> Iterator[TurnSound]:
    """So many of them; each recording comes as often as any other, its pauses differ."""
    rng = random.Random(seed)
    for number in range(count):
        yield _turn(spoken[number % len(spoken)], rng)


def _turn(recording: Recording, rng: random.Random) -> TurnSound:
    pause_ms = rng.randint(*PAUSES_MS)
    first, second = _parts(recording, rng)
    lead = LEAD_S + rng.random() * 0.5
    parts = (_zeros(lead), first, _zeros(pause_ms / 1000), second, _zeros(TAIL_S))
    ends = np.cumsum([len(part) for part in parts]) * 1000 // RATE_HZ
    sound = np.concatenate(parts)
    peak_db, snr_db = rng.uniform(*PEAKS_DB), rng.uniform(*SNRS_DB)
    sound *= 10 ** (peak_db / 20) / np.abs(sound).max()
    level = np.sqrt(np.mean(np.concatenate((first, second)) ** 2))
    level *= 10 ** (peak_db / 20) / max(np.abs(first).max(), np.abs(second).max())
    noise = np.random.default_rng(rng.getrandbits(32)).standard_normal(len(sound), np.float32)
    sound += level * 10 ** (-snr_db / 20) * noise
    return TurnSound(
        recording.name,
        recording.kind,
        recording.text,
        sound.astype(np.float32),
        int(ends[0]),
        int(ends[1]),
        pause_ms,
        int(ends[3]),
        round(snr_db, 1),
        round(peak_db, 1),
    )


def _parts(recording: Recording, rng: random.Random) -> tuple[np.ndarray, np.ndarray]:
    """The two sides of the cut, without the silence between them, faded over 5 ms."""
    samples, text = recording.samples, recording.text
    before, mark, after = text.replace("||", "|").partition("|")
    where = len(before) / len(before + after) if mark else rng.uniform(0.35, 0.65)
    levels = _levels(samples)
    first, last = (where - AROUND) * len(levels), (where + AROUND) * len(levels)
    if recording.cut_s is not None:
        first, last = (recording.cut_s + side for side in CUT_S)
        first, last = first * RATE_HZ / HOP, last * RATE_HZ / HOP
    begin, end = _quietest(levels, max(1, int(first)), min(len(levels) - 1, int(last)))
    parts = samples[: begin * HOP].copy(), samples[end * HOP :].copy()
    ramp = np.linspace(0, 1, FADE, dtype=np.float32)
    parts[0][-FADE:] *= ramp[::-1]
    parts[1][:FADE] *= ramp
    return parts


def _quietest(levels: np.ndarray, first: int, behind: int) -> tuple[int, int]:
    """The longest silence between two hops; where there is none, the softest hop."""
    quiet = levels < SOFTEST * levels.max()
    best, start = (0, 0), None
    for hop in range(first, behind + 1):
        if hop < behind and quiet[hop]:
            start = hop if start is None else start
        elif start is not None:
            best, start = max(best, (start, hop), key=lambda span: span[1] - span[0]), None
    if best[1] > best[0]:
        return best
    softest = first + int(levels[first:behind].argmin())
    return softest, softest


def _trimmed(samples: np.ndarray) -> tuple[np.ndarray, float]:
    """Without the silence around it, and the seconds of that before it."""
    levels = _levels(samples)
    loud = np.flatnonzero(levels > SOFTEST * levels.max())
    return samples[loud[0] * HOP : (loud[-1] + 1) * HOP], loud[0] * HOP / RATE_HZ


def _levels(samples: np.ndarray) -> np.ndarray:
    hops = samples[: len(samples) // HOP * HOP].reshape(-1, HOP)
    return np.sqrt(np.mean(hops**2, axis=1))


def _read(path: Path) -> np.ndarray:
    samples, rate_hz = soundfile.read(path, dtype="float32")
    return soxr.resample(samples, rate_hz, RATE_HZ) if rate_hz != RATE_HZ else samples


def _zeros(seconds: float) -> np.ndarray:
    return np.zeros(int(seconds * RATE_HZ), np.float32)
