"""Turns with a pause in them, made of recordings of one sentence each.

The pause is put where the sentence has its mark (`|`, `||`): at the time that `cuts.txt` names, or
else at the quietest place near it. A sentence without a mark is cut at the quietest place of its
middle. Where the speaker made a pause, that pause becomes longer or shorter in its middle, and the
voice before it is that of somebody who pauses. Where there was none, the voice is that of somebody
who reads on. How sounds fade at a pause and at the end is left as it was spoken: a model of turns
takes a voice that is cut off for one that goes on.
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
    """A sentence as it was spoken."""

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
    """A turn: noise, the first part, a pause, the second part, noise.

    The ms of its sounds are those of the moments above `SOFTEST`.
    """

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
        cut_s = float(at[int(stem)]) if at else None
        samples = _read(files[stem])
        found.append(Recording(f"{folder.name}/{stem}", lines[int(stem)], samples, cut_s))
    return found


def turns(spoken: list[Recording], count: int, seed: int) -> Iterator[TurnSound]:
    """So many of them; each recording comes as often as any other, its pauses differ."""
    rng = random.Random(seed)
    for number in range(count):
        yield _turn(spoken[number % len(spoken)], rng)


def _turn(recording: Recording, rng: random.Random) -> TurnSound:
    pause_ms = rng.randint(*PAUSES_MS)
    pause = pause_ms * RATE_HZ // 1000
    samples, levels = recording.samples, _levels(recording.samples)
    loud = np.flatnonzero(levels > SOFTEST * levels.max())
    start, end = int(loud[0]) * HOP, (int(loud[-1]) + 1) * HOP
    begin, behind = (hop * HOP for hop in _own_pause(recording, levels, loud, rng))
    own = min(behind - begin, pause) // 2  # kept on either side
    first, second = samples[: begin + own].copy(), samples[behind - own :].copy()
    ramp = np.linspace(0, 1, FADE, dtype=np.float32)
    first[-FADE:] *= ramp[::-1]
    second[:FADE] *= ramp
    lead = _zeros(LEAD_S + rng.random() * 0.5)
    sound = np.concatenate((lead, first, np.zeros(pause - 2 * own, np.float32), second))
    sound = np.concatenate((sound, _zeros(TAIL_S)))
    peak_db, snr_db = rng.uniform(*PEAKS_DB), rng.uniform(*SNRS_DB)
    sound *= 10 ** (peak_db / 20) / np.abs(sound).max()
    spoken = samples[start:end] * 10 ** (peak_db / 20) / np.abs(samples).max()
    level = np.sqrt(np.mean(spoken**2))
    noise = np.random.default_rng(rng.getrandbits(32)).standard_normal(len(sound), np.float32)
    sound += level * 10 ** (-snr_db / 20) * noise
    moved = len(lead) + pause - (behind - begin)  # of what stands behind the pause
    return TurnSound(
        recording.name,
        recording.kind,
        recording.text,
        sound.astype(np.float32),
        _ms(len(lead) + start),
        _ms(len(lead) + begin),
        pause_ms,
        _ms(moved + end),
        round(snr_db, 1),
        round(peak_db, 1),
    )


def _own_pause(
    recording: Recording, levels: np.ndarray, loud: np.ndarray, rng: random.Random
) -> tuple[int, int]:
    """The hops of the silence at the mark, or twice the hop at which to cut."""
    if recording.cut_s is not None:
        first, last = ((recording.cut_s + side) * RATE_HZ / HOP for side in CUT_S)
    else:
        before, mark, after = recording.text.replace("||", "|").partition("|")
        where = len(before) / len(before + after) if mark else rng.uniform(0.35, 0.65)
        spoken = loud[-1] + 1 - loud[0]
        first, last = (loud[0] + (where + side) * spoken for side in (-AROUND, AROUND))
    return _quietest(levels, max(int(loud[0]) + 1, int(first)), min(int(loud[-1]), int(last)))


def _quietest(levels: np.ndarray, first: int, behind: int) -> tuple[int, int]:
    """The longest silence between two hops, whole; where there is none, the softest hop."""
    quiet = levels < SOFTEST * levels.max()
    best, start = (0, 0), None
    for hop in range(first, behind + 1):
        if hop < behind and quiet[hop]:
            start = hop if start is None else start
        elif start is not None:
            best, start = max(best, (start, hop), key=lambda span: span[1] - span[0]), None
    if best[1] > best[0]:
        loud = np.flatnonzero(~quiet)
        return int(loud[loud < best[0]].max()) + 1, int(loud[loud >= best[1]].min())
    softest = first + int(levels[first:behind].argmin())
    return softest, softest


def _levels(samples: np.ndarray) -> np.ndarray:
    hops = samples[: len(samples) // HOP * HOP].reshape(-1, HOP)
    return np.sqrt(np.mean(hops**2, axis=1))


def _read(path: Path) -> np.ndarray:
    samples, rate_hz = soundfile.read(path, dtype="float32")
    return soxr.resample(samples, rate_hz, RATE_HZ) if rate_hz != RATE_HZ else samples


def _zeros(seconds: float) -> np.ndarray:
    return np.zeros(int(seconds * RATE_HZ), np.float32)


def _ms(samples: int) -> int:
    return samples * 1000 // RATE_HZ
