"""Natural speech is written in shards, whatever number of sentences the teacher takes at once."""

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.nano.corpus import natural
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
