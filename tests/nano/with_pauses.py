"""Held-out sentences one after another, with pauses between them: a long recording whose truth is
known."""

import io
import itertools
from dataclasses import dataclass

import numpy as np
import soundfile

from tests.nano.recordings import kept
from tests.nano.sizes import SPEECH_RATE_HZ

PAUSES_S = (0.6, 1.5)
SHORTEST_S = 2.5  # a sentence with its pause takes 2.9 s in the mean
SOFTEST = 10 ** (-40 / 20)  # of a sentence's loudest moment; what is softer is its silence
HOP = SPEECH_RATE_HZ // 200  # 5 ms
NOISE = 1e-3  # −60 dB: a quiet room


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence and where it is, in seconds."""

    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True, eq=False)
class Spoken:
    """Sentences in a row."""

    samples: np.ndarray  # [N] float32, 16 kHz
    sentences: list[Sentence]

    def file(self, format: str = "WAV", subtype: str | None = None) -> bytes:
        """As a file of one of libsndfile's formats."""
        return as_file(self.samples, format, subtype)


def as_file(samples: np.ndarray, format: str, subtype: str | None = None) -> bytes:
    """[N] float32, 16 kHz, as a file. In steps: libsndfile's Vorbis dies of too much at once."""
    file = io.BytesIO()
    options = {"format": format, "subtype": subtype, "channels": 1}
    with soundfile.SoundFile(file, "w", SPEECH_RATE_HZ, **options) as writer:
        for start in range(0, len(samples), SPEECH_RATE_HZ):
            writer.write(samples[start : start + SPEECH_RATE_HZ])
    return file.getvalue()


def with_pauses(count: int | None = None, seconds: float | None = None, seed: int = 0) -> Spoken:
    """The first `count` sentences; or over again as many as `seconds` have room for."""
    draw = np.random.default_rng(seed)
    needed = count if seconds is None else round(seconds / SHORTEST_S)
    recordings = [(one.sentence, _trimmed(one.wav)) for one in kept(needed)]
    most = len(recordings) if seconds is None else None
    parts, sentences, length = [], [], 0
    for text, speech in itertools.islice(itertools.cycle(recordings), most):
        pause = np.zeros(round(draw.uniform(*PAUSES_S) * SPEECH_RATE_HZ), np.float32)
        start, end = length + len(pause), length + len(pause) + len(speech)
        if seconds is not None and end + SPEECH_RATE_HZ > seconds * SPEECH_RATE_HZ:
            break
        parts += [pause, speech]
        sentences.append(Sentence(text, start / SPEECH_RATE_HZ, end / SPEECH_RATE_HZ))
        length = end
    samples = np.concatenate([*parts, np.zeros(SPEECH_RATE_HZ, np.float32)])
    noise = draw.standard_normal(len(samples), np.float32)
    return Spoken(samples + np.float32(NOISE) * noise, sentences)


def _trimmed(wav: bytes) -> np.ndarray:
    """A recording without the silence before and behind its sentence."""
    samples, _ = soundfile.read(io.BytesIO(wav), dtype="float32")
    hops = samples[: len(samples) // HOP * HOP].reshape(-1, HOP)
    levels = np.sqrt(np.square(hops).mean(axis=1))
    loud = np.flatnonzero(levels > SOFTEST * levels.max())
    trimmed: np.ndarray = samples[loud[0] * HOP : (loud[-1] + 1) * HOP]
    return trimmed
