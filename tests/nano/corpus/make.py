"""Makes the corpus: every sentence twice at nano's own rate by two speakers, and once freely."""

import multiprocessing
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import soxr

from tests.nano.corpus.espeak import RATE_HZ, SPEAKERS, STANDARD_WPM, Espeak
from tests.nano.corpus.sentences import training_sentences
from tests.nano.corpus.store import Corpus, Utterance
from tests.nano.sizes import SOUND_RATE_HZ, SPEECH_RATE_HZ

STANDARD_PITCHES: Final = 5  # either way of the speaker's own
FREE_PITCHES: Final = 12
FREE_WPM: Final = (120, 210)
_CHUNK: Final = 100  # sentences that a process takes at a time


@dataclass(frozen=True, slots=True)
class _Spoken:
    """What a chunk of sentences gives; the samples of all its utterances lie end to end."""

    utterances: list[Utterance]
    speech: np.ndarray  # [total] int16, 16 kHz
    speech_lengths: list[int]
    sound: np.ndarray  # [total] int16, 24 kHz
    sound_lengths: list[int]


def main(out: Path, sentences: int, seed: int, processes: int) -> None:
    """Write a corpus of that many training sentences to the folder `out`."""
    make_corpus(out, training_sentences(sentences, seed), seed, processes)


def make_corpus(folder: Path, sentences: Sequence[str], seed: int, processes: int) -> None:
    """Speak the sentences and save them as a `Corpus`; the same for the same seed."""
    chunks = [(at, sentences[at : at + _CHUNK]) for at in range(0, len(sentences), _CHUNK)]
    # A process a chunk: eSpeak's noise and flutter go on from one utterance to the next, so that
    # only a fresh start gives the same samples on any number of processes.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with context.Pool(processes, maxtasksperchild=1) as pool:
        spoken = list(pool.imap(partial(_speak_chunk, seed), chunks))
    corpus = Corpus(
        sentences=list(sentences),
        speakers=[speaker.voice for speaker in SPEAKERS],
        utterances=[utterance for chunk in spoken for utterance in chunk.utterances],
        speech=np.concatenate([chunk.speech for chunk in spoken]),
        speech_starts=_starts([n for chunk in spoken for n in chunk.speech_lengths]),
        sound=np.concatenate([chunk.sound for chunk in spoken]),
        sound_starts=_starts([n for chunk in spoken for n in chunk.sound_lengths]),
    )
    corpus.save(folder)


def planned(sentence: int, rng: random.Random) -> list[Utterance]:
    """How a sentence is to be spoken: two standard utterances and a free one."""
    first, second = rng.sample(range(len(SPEAKERS)), 2)
    standard = [
        Utterance(
            sentence, speaker, "standard", STANDARD_WPM, _near(speaker, STANDARD_PITCHES, rng)
        )
        for speaker in (first, second)
    ]
    anyone = rng.randrange(len(SPEAKERS))
    pitch = _near(anyone, FREE_PITCHES, rng)
    return [*standard, Utterance(sentence, anyone, "free", rng.randint(*FREE_WPM), pitch)]


def _near(speaker: int, spread: int, rng: random.Random) -> int:
    return SPEAKERS[speaker].pitch + rng.randint(-spread, spread)


def _speak_chunk(seed: int, chunk: tuple[int, Sequence[str]]) -> _Spoken:
    start, sentences = chunk
    rng = random.Random(f"{seed} {start}")
    espeak = Espeak.of_this_process()
    numbers = range(start, start + len(sentences))
    utterances = [utterance for number in numbers for utterance in planned(number, rng)]
    spoken = [
        espeak.speak(sentences[u.sentence - start], SPEAKERS[u.speaker].voice, u.rate_wpm, u.pitch)
        for u in utterances
    ]
    speech = [_resampled(samples, SPEECH_RATE_HZ) for samples in spoken]
    sound = [_resampled(samples, SOUND_RATE_HZ) for samples in spoken]
    return _Spoken(
        utterances=utterances,
        speech=np.concatenate(speech),
        speech_lengths=[len(samples) for samples in speech],
        sound=np.concatenate(sound),
        sound_lengths=[len(samples) for samples in sound],
    )


def _resampled(samples: np.ndarray, rate_hz: int) -> np.ndarray:
    resampled = soxr.resample(samples, RATE_HZ, rate_hz)
    return np.clip(np.round(resampled * 32768), -32768, 32767).astype(np.int16)


def _starts(lengths: Sequence[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
