"""Held-out sentences as recordings that are kept: what the tests of meaning listen to.

eSpeak speaks each in a voice, at a rate and a pitch of its own; kept as Ogg Opus, 16 kHz, so that
the tests need no eSpeak. `python -m tests.nano.recordings` makes them anew.
"""

import io
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from tests.nano.corpus.make import FREE_PITCHES, FREE_WPM
from tests.nano.corpus.sentences import held_out_sentences
from tests.nano.sizes import SPEECH_RATE_HZ

FOLDER = Path(__file__).parent / "recordings"


@dataclass(frozen=True, slots=True)
class Recording:
    """A sentence and how it sounds."""

    sentence: str
    wav: bytes


def kept(count: int | None = None) -> list[Recording]:
    """The first `count` of the recordings that are kept, all without it."""
    sentences = (FOLDER / "sentences.txt").read_text(encoding="utf-8").splitlines()
    return [
        Recording(sentence, _wav(*soundfile.read(FOLDER / f"{number:03}.ogg")))
        for number, sentence in enumerate(sentences[:count])
    ]


def _wav(samples: np.ndarray, rate_hz: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format="WAV")
    return file.getvalue()


def main() -> None:
    """Speak the held-out sentences anew."""
    from tests.nano.corpus.espeak import RATE_HZ, SPEAKERS, Espeak

    FOLDER.mkdir(exist_ok=True)
    sentences = held_out_sentences()
    (FOLDER / "sentences.txt").write_text("\n".join(sentences) + "\n", encoding="utf-8")
    rng = random.Random(0)
    for number, sentence in enumerate(sentences):
        speaker = rng.choice(SPEAKERS)
        pitch = speaker.pitch + rng.randint(-FREE_PITCHES, FREE_PITCHES)
        rate_wpm = rng.randint(*FREE_WPM)
        samples = Espeak.of_this_process().speak(sentence, speaker.voice, rate_wpm, pitch)
        speech = soxr.resample(samples, RATE_HZ, SPEECH_RATE_HZ)
        path = FOLDER / f"{number:03}.ogg"
        soundfile.write(path, speech, SPEECH_RATE_HZ, format="OGG", subtype="OPUS")


if __name__ == "__main__":
    main()
