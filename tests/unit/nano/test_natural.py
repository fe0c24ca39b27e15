"""Natural speech is written in shards, whatever number of sentences the teacher takes at once."""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.nano.corpus import natural
from tests.nano.corpus.from_shards import corpus_of, pitch_of
from tests.nano.corpus.kokoro import HELD_OUT, Voice, roster
from tests.nano.corpus.natural import Job, Spoken, make
from tests.nano.corpus.shards import Shard, shards


class _Phonemes:
    def of(self, text: str) -> list[int]:
        return [len(text)]


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.setattr(natural, "Phonemes", _Phonemes)
    monkeypatch.setattr(natural, "dictionary", lambda: ["aardwolf"])
    return Job(
        folder=tmp_path, teacher="kokoro", models=tmp_path, lines=None, device="cuda", seed=7,
        end=float("inf"), shard=2, limit=5, sound=False,
    )  # fmt: skip


def test_as_many_utterances_are_made_as_were_asked_for(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def teach(sentences: Sequence[str], rng: random.Random) -> list[Spoken]:
        """The first one of all cannot be said."""
        asked.append(len(sentences))
        silent = len(asked) == 1
        return [
            Spoken(np.full(12_000, 0.1 * (at > 0 or not silent), np.float32), 24_000, "v", 1.0)
            for at in range(len(sentences))
        ]

    monkeypatch.setattr(natural, "_teacher", lambda job: teach)
    make(job)
    assert asked == [5, 1]
    made = [Shard.open(path) for path in shards(job.folder)]
    assert [len(shard) for shard in made] == [2, 2, 1]
    assert all(shard.phonemes[0] == [len(shard.sentences[0])] for shard in made)
    assert all(not shard.sound for shard in made)


def test_a_sentence_is_said_three_times_in_a_duet(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Kokoro:
        def __init__(self, models: Path, device: str) -> None:
            pass

        def speak_in_step(
            self, pairs: Sequence[tuple[str, Voice, Voice]]
        ) -> list[tuple[np.ndarray, np.ndarray]]:
            assert all(one != other and one.british == other.british for _, one, other in pairs)
            loud = np.zeros(24_000, np.float32)
            loud[4000:20_000] = 0.1
            soft = loud.copy()
            soft[15_000:] = 0  # the end is not heard, and yet the length is the other's
            return [(loud, soft)] * len(pairs)

        def speak_all(self, asked: Sequence[tuple[str, Voice, float]]) -> list[np.ndarray]:
            return [np.full(12_000, 0.1, np.float32)] * len(asked)

    monkeypatch.setattr(natural, "Kokoro", Kokoro)
    make(replace(job, teacher="duets", limit=6, shard=6))
    (path,) = shards(job.folder)
    made = Shard.open(path)
    assert made.sentences[:3] == [made.sentences[0]] * 3
    assert made.sentences[3:] == [made.sentences[3]] * 3
    assert [speed == 1 for speed in made.speeds] == [True, True, False] * 2
    assert len(made.speech[0]) == len(made.speech[1])


def test_no_speaker_of_the_roster_is_held_out() -> None:
    speakers = roster(40)
    assert speakers == roster(40)
    assert len({one.name for one in speakers}) == 24 + 40
    assert not {name for one in speakers for name, _ in one.parts} & set(HELD_OUT)
    assert all(len({name[0] for name, _ in one.parts}) == 1 for one in speakers)


def test_a_corpus_of_shards_keeps_who_says_what_and_how_high() -> None:
    def tone(hz: float) -> np.ndarray:
        waves = sum(np.sin(2 * np.pi * hz * n * np.arange(36_000) / 24_000) / n for n in (1, 2, 3))
        return (9000 * waves).astype(np.int16)

    shard = Shard()
    for sentence, voice, speed, hz in (
        ("One.", "low", 1.0, 100.0), ("One.", "high", 1.0, 200.0),
        ("Two.", "low", 0.9, 100.0), ("One.", "low", 1.1, 100.0),
    ):  # fmt: skip
        shard.sentences.append(sentence)
        shard.voices.append(voice)
        shard.speeds.append(speed)
        shard.sound.append(tone(hz))
        shard.speech.append(tone(hz)[::2])
    silent = Shard(["Three."], ["low"], [1.0], [[]], [np.ones(10, np.int16)])  # no 24 kHz
    corpus = corpus_of([shard, silent], torch.device("cpu"))
    assert corpus.sentences == ["One.", "Two."]
    assert corpus.speakers == ["high", "low"]
    assert [u.sentence for u in corpus.utterances] == [0, 0, 0, 1]
    assert [u.kind for u in corpus.utterances] == ["standard", "standard", "free", "free"]
    low, high = pitch_of(100.0), pitch_of(200.0)
    assert high - low == 50
    assert [abs(u.pitch - p) <= 1 for u, p in zip(
        corpus.utterances, [low, high, low, low], strict=True
    )] == [True] * 4  # fmt: skip
    assert corpus.sound_starts[-1] == len(corpus.sound) == 4 * 36_000
