"""Makes natural speech: many processes, each with a teacher, write shards until time is up.

    python -m tests.nano.corpus.natural FOLDER --teacher kokoro --minutes 3 --processes 6 ...

What is said and by whom follows from the seed and from the number of the process; how much is made
follows from the time and the machine.
"""

import argparse
import multiprocessing
import random
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import soxr

from tests.nano.corpus.everyday import conversation_lines, everyday_sentences
from tests.nano.corpus.kokoro import (
    FASTEST,
    HELD_OUT,
    RATE_HZ,
    SLOWEST,
    Kokoro,
    Phonemes,
    Voice,
    dictionary,
    roster,
    training_voice,
)
from tests.nano.corpus.levels import levelled, loud_part, trimmed
from tests.nano.corpus.shards import Shard, int16
from tests.nano.sizes import SOUND_RATE_HZ, SPEECH_RATE_HZ

_SENTENCES_AT_ONCE: Final = 400
_LONGEST_S: Final = 15.0
_DUET: Final = 3  # times that a sentence is said
_BLENDS: Final = 176  # speakers beside the 24 voices
_SILENT: Final = 1e-3  # of the peak


@dataclass(frozen=True, slots=True)
class Job:
    """What one process makes."""

    folder: Path
    teacher: str  # kokoro, duets, hibari, espeak
    models: Path  # Kokoro's folder
    lines: Path | None  # of the conversations
    device: str
    seed: int
    end: float  # of time.time()
    shard: int  # utterances
    limit: int  # utterances in all
    voices: tuple[str, ...] = ()  # none: those of training, blended
    held_out: bool = False  # the sentences
    sound: bool = True  # 24 kHz, too

    @property
    def at_once(self) -> int:
        """Sentences that the teacher is given: a GPU sorts so many by their length."""
        batched = self.teacher in ("kokoro", "duets") and self.device != "cpu"
        return _SENTENCES_AT_ONCE * self.times if batched else self.times

    @property
    def times(self) -> int:
        """How often each sentence is said, one time after the other."""
        return _DUET if self.teacher == "duets" else 1


@dataclass(frozen=True, slots=True)
class Spoken:
    """A sentence as a teacher says it."""

    samples: np.ndarray  # [N] float32
    rate_hz: int
    voice: str
    speed: float
    said: tuple[int, int] | None = None  # the first and the last loud sample, where they are known


# A teacher says sentences, as many at once as suits it.
_Teacher = Callable[[Sequence[str], random.Random], list[Spoken]]


def make(job: Job) -> None:
    """Speak until the time or the limit is reached."""
    rng = random.Random(f"{job.teacher} {job.seed}")
    phonemes = Phonemes()
    teach = _teacher(job)
    lines = conversation_lines(job.lines) if job.lines else []
    rare = [] if job.held_out else dictionary()
    made, shard, number = 0, Shard(), 0
    waiting: list[str] = []
    while time.time() < job.end and made < job.limit:
        if not waiting:
            seed = rng.randrange(2**31)
            waiting = everyday_sentences(
                _SENTENCES_AT_ONCE, seed, lines, held_out=job.held_out, rare=rare
            )
            waiting = [sentence for sentence in reversed(waiting) for _ in range(job.times)]
        count = min(job.at_once, job.limit - made)
        sentences, waiting = waiting[:count], waiting[count:]
        for sentence, spoken in zip(sentences, teach(sentences, rng), strict=True):
            if not _usable(spoken.samples, spoken.rate_hz):
                continue
            samples = levelled(trimmed(spoken.samples, spoken.rate_hz, spoken.said))
            shard.sentences.append(sentence)
            shard.voices.append(spoken.voice)
            shard.speeds.append(round(spoken.speed, 3))
            shard.phonemes.append(phonemes.of(sentence))
            shard.speech.append(int16(soxr.resample(samples, spoken.rate_hz, SPEECH_RATE_HZ)))
            if job.sound:
                shard.sound.append(int16(soxr.resample(samples, spoken.rate_hz, SOUND_RATE_HZ)))
            made += 1
            if len(shard) == job.shard:
                shard.save(_path(job, number))
                shard, number = Shard(), number + 1
    if shard:
        shard.save(_path(job, number))


def _usable(samples: np.ndarray, rate_hz: int) -> bool:
    """Whether it is speech of a length that is heard: a teacher may fail at a sentence."""
    if not 0.2 < len(samples) / rate_hz < _LONGEST_S:
        return False
    return bool(np.isfinite(samples).all()) and float(np.abs(samples).max()) > _SILENT


def _path(job: Job, number: int) -> Path:
    return job.folder / f"{job.teacher}-{job.seed:04}-{number:04}.npz"


def _teacher(job: Job) -> _Teacher:
    teachers = {"kokoro": _kokoro, "duets": _duets, "hibari": _hibari, "espeak": _espeak}
    return teachers[job.teacher](job)


def _kokoro(job: Job) -> _Teacher:
    kokoro = Kokoro(job.models, job.device)
    given = [Voice(((name, 1.0),)) for name in job.voices]

    def speak(sentences: Sequence[str], rng: random.Random) -> list[Spoken]:
        asked = []
        for sentence in sentences:
            voice = rng.choice(given) if given else training_voice(rng)
            asked.append((sentence, voice, rng.uniform(SLOWEST, FASTEST)))
        return [
            Spoken(samples, RATE_HZ, voice.name, speed)
            for samples, (_, voice, speed) in zip(kokoro.speak_all(asked), asked, strict=True)
        ]

    if set(job.voices) & set(HELD_OUT) and not job.held_out:
        raise ValueError("voices that are held out say sentences that are held out, and no others")
    return speak


def _duets(job: Job) -> _Teacher:
    """Kokoro says each sentence thrice: two speakers in one rhythm, and anyone at any speed."""
    kokoro = Kokoro(job.models, job.device)
    speakers = roster(_BLENDS)

    def speak(sentences: Sequence[str], rng: random.Random) -> list[Spoken]:
        texts = sentences[::_DUET]
        firsts = [rng.choice(speakers) for _ in texts]
        pairs = [
            (text, *_of_one_accent(first, speakers, rng))
            for text, first in zip(texts, firsts, strict=True)
        ]
        alone = [(text, rng.choice(speakers), rng.uniform(SLOWEST, FASTEST)) for text in texts]
        together = kokoro.speak_in_step(pairs)
        spoken: list[Spoken] = []
        for (_, *voices), both, (_, voice, speed), free in zip(
            pairs, together, alone, kokoro.speak_all(alone), strict=True
        ):
            said = loud_part(both[0])
            spoken += [
                Spoken(samples, RATE_HZ, one.name, 1.0, said)
                for samples, one in zip(both, voices, strict=True)
            ]
            spoken.append(Spoken(free, RATE_HZ, voice.name, speed))
        return spoken

    return speak


def _of_one_accent(
    first: Voice, speakers: Sequence[Voice], rng: random.Random
) -> tuple[Voice, Voice]:
    others = [one for one in speakers if one.british == first.british and one != first]
    return first, rng.choice(others)


def _one_by_one(say: Callable[[str, random.Random], Spoken]) -> _Teacher:
    return lambda sentences, rng: [say(sentence, rng) for sentence in sentences]


def _hibari(job: Job) -> _Teacher:
    from hibari import Hibari  # a package of the training machine

    hibari = Hibari()

    def speak(sentence: str, rng: random.Random) -> Spoken:
        speed = rng.uniform(SLOWEST, FASTEST)
        samples = hibari(sentence, speed, rng.randrange(2**31))
        return Spoken(samples, RATE_HZ, "hibari heart", speed)

    return _one_by_one(speak)


def _espeak(job: Job) -> _Teacher:
    from tests.nano.corpus.espeak import RATE_HZ as ESPEAK_HZ
    from tests.nano.corpus.espeak import SPEAKERS, Espeak
    from tests.nano.corpus.make import FREE_PITCHES, FREE_WPM

    espeak = Espeak.of_this_process()

    def speak(sentence: str, rng: random.Random) -> Spoken:
        speaker, wpm = rng.choice(SPEAKERS), rng.randint(*FREE_WPM)
        pitch = speaker.pitch + rng.randint(-FREE_PITCHES, FREE_PITCHES)
        samples = espeak.speak(sentence, speaker.voice, wpm, pitch)
        return Spoken(samples, ESPEAK_HZ, f"espeak {speaker.voice}", wpm / 165)

    return _one_by_one(speak)


def _guarded(job: Job) -> None:
    try:
        make(job)
    except Exception:
        traceback.print_exc()
        raise


def main() -> None:
    """Start the processes and wait for them; report what was made."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--teacher", default="kokoro", choices=("kokoro", "duets", "hibari", "espeak")
    )
    parser.add_argument("--models", type=Path, default=Path("kokoro"))
    parser.add_argument("--lines", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0, help="of the first process")
    parser.add_argument("--shard", type=int, default=200)
    parser.add_argument("--limit", type=int, default=2**31, help="utterances of each process")
    parser.add_argument("--voices", default="", help="Kokoro's, with commas; those of training")
    parser.add_argument("--held-out", action="store_true", help="sentences that are held out")
    parser.add_argument("--no-sound", action="store_true", help="16 kHz only")
    args = parser.parse_args()
    end = time.time() + 60 * args.minutes
    jobs = [
        Job(
            folder=args.folder, teacher=args.teacher, models=args.models, lines=args.lines,
            device=args.device, seed=args.seed + number, end=end, shard=args.shard,
            limit=args.limit, voices=tuple(args.voices.split(",")) if args.voices else (),
            held_out=args.held_out, sound=not args.no_sound,
        )
        for number in range(args.processes)
    ]  # fmt: skip
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_guarded, args=(job,)) for job in jobs]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    print(args.teacher, "ended with", [process.exitcode for process in processes], flush=True)


if __name__ == "__main__":
    main()
