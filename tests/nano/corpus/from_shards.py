"""A corpus for the speech tokenizer, the flow and the vocoder out of shards of natural speech.

    python -m tests.nano natural-corpus SHARDS CORPUS

Two utterances of a sentence at the speed 1 are in one rhythm (`natural --teacher duets`): they are
the corpus's standard ones. A speaker's pitch is the median over what he says, in eSpeak's units.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import torch

from tests.nano.corpus.shards import Shard, shards
from tests.nano.corpus.store import Corpus, Utterance
from tests.nano.pitch import CONTEXT, track_pitch
from tests.nano.sizes import SOUND_RATE_HZ
from tests.nano.training import device

_MIDDLE_HZ, _MIDDLE_PITCH, _PITCHES_AN_OCTAVE = 150.0, 55.0, 50.0
_HEARD_FRAMES: Final = 100  # of a recording, for its pitch: 2 s
_FRAME_SAMPLES: Final = 480
_SPEED_WPM: Final = 165  # what the speed 1 is called
_BATCH: Final = 256


def main(folder: Path, corpus: Path) -> None:
    """Write the `Corpus` of the folder's shards, those that hold 24 kHz sound."""
    built = corpus_of([Shard.open(path, sound=True) for path in shards(folder)], device())
    built.save(corpus)
    hours = len(built.sound) / SOUND_RATE_HZ / 3600
    print(f"{len(built.sentences)} sentences, {len(built.speakers)} speakers, {hours:.2f} h")


def corpus_of(parts: Sequence[Shard], where: torch.device) -> Corpus:
    """Utterances in the order of their sentences, whose order is that of the shards."""
    spoken = [one for part in parts if part.sound for one in _spoken(part)]
    sentences = list(dict.fromkeys(sentence for sentence, *_ in spoken))
    number = {sentence: index for index, sentence in enumerate(sentences)}
    spoken.sort(key=lambda one: number[one[0]])
    speakers = sorted({voice for _, voice, *_ in spoken})
    index = {voice: at for at, voice in enumerate(speakers)}
    utterances = [
        Utterance(
            number[sentence], index[voice], "standard" if speed == 1 else "free",
            round(_SPEED_WPM * speed), 0,
        )
        for sentence, voice, speed, _, _ in spoken
    ]  # fmt: skip
    sound = [one[4] for one in spoken]
    pitch = _pitches(sound, np.array([u.speaker for u in utterances]), where)
    return Corpus(
        sentences=sentences,
        speakers=speakers,
        utterances=[replace(u, pitch=pitch[u.speaker]) for u in utterances],
        speech=np.concatenate([one[3] for one in spoken]),
        speech_starts=_starts([len(one[3]) for one in spoken]),
        sound=np.concatenate(sound),
        sound_starts=_starts([len(one) for one in sound]),
    )


def pitch_of(hz: float) -> int:
    """A fundamental frequency in eSpeak's units: a logarithm, 55 at 150 Hz, 50 an octave."""
    return round(_MIDDLE_PITCH + _PITCHES_AN_OCTAVE * math.log2(hz / _MIDDLE_HZ))


def _spoken(shard: Shard) -> Iterator[tuple[str, str, float, np.ndarray, np.ndarray]]:
    yield from zip(
        shard.sentences, shard.voices, shard.speeds, shard.speech, shard.sound, strict=True
    )


def _pitches(
    sound: Sequence[np.ndarray], speaker: np.ndarray, where: torch.device
) -> dict[int, int]:
    """Of each speaker, the median of the voiced frames in the middle of the recordings."""
    heard: dict[int, list[np.ndarray]] = {}
    count = _HEARD_FRAMES * _FRAME_SAMPLES + 2 * CONTEXT
    for start in range(0, len(sound), _BATCH):
        part = sound[start : start + _BATCH]
        batch = np.zeros((len(part), count), dtype=np.float32)
        for row, samples in enumerate(part):
            begin = max(0, (len(samples) - count) // 2)
            middle = samples[begin : begin + count]
            batch[row, : len(middle)] = middle / 32768
        tracks = track_pitch(torch.from_numpy(batch).to(where)).cpu().numpy()
        for who, track in zip(speaker[start : start + _BATCH].tolist(), tracks, strict=True):
            heard.setdefault(who, []).append(track[track > 0])
    medians = {who: np.concatenate(tracks) for who, tracks in heard.items()}
    return {
        who: pitch_of(float(np.median(hz))) if len(hz) else round(_MIDDLE_PITCH)
        for who, hz in medians.items()
    }


def _starts(lengths: Sequence[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
