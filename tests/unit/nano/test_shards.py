"""Shards of speech: saved, opened, packed as Opus and unpacked."""

from pathlib import Path

import numpy as np

from tests.nano.corpus.shards import Shard, int16, pack, shards, unpack


def _shard(seconds: list[float]) -> Shard:
    shard = Shard()
    for number, length in enumerate(seconds):
        shard.sentences.append(f"Sentence {number}.")
        shard.voices.append("af_heart")
        shard.speeds.append(1.0)
        shard.phonemes.append([50, 51 + number])
        for rate_hz, where in ((16_000, shard.speech), (24_000, shard.sound)):
            tone = 0.3 * np.sin(2 * np.pi * 300 * np.arange(round(length * rate_hz)) / rate_hz)
            where.append(int16(tone))
    return shard


def test_a_shard_is_opened_as_it_was_saved(tmp_path: Path) -> None:
    saved = _shard([0.5, 0.3])
    saved.save(tmp_path / "a" / "kokoro-0000-0000.npz")
    opened = Shard.open(shards(tmp_path)[0], sound=True)
    assert (opened.sentences, opened.phonemes) == (saved.sentences, saved.phonemes)
    for before, after in zip(saved.speech + saved.sound, opened.speech + opened.sound, strict=True):
        np.testing.assert_array_equal(before, after)


def test_what_is_packed_comes_back_with_its_lengths_and_nearly_its_sound(tmp_path: Path) -> None:
    for number in range(2):
        _shard([1.5, 0.4]).save(tmp_path / "in" / f"kokoro-{number:04}-0000.npz")
    archives = pack(tmp_path / "in", tmp_path / "packed", limit_bytes=10_000, most=5)
    assert len(archives) == 2  # each shard alone comes near the limit
    assert unpack(archives, tmp_path / "out") == 2
    before = Shard.open(shards(tmp_path / "in")[0], sound=True)
    after = Shard.open(shards(tmp_path / "out")[0], sound=True)
    assert [len(s) for s in after.sound] == [len(s) for s in before.sound]
    assert [len(s) for s in after.speech] == [len(s) for s in before.speech]
    inner = slice(2400, 24_000)
    likeness = np.corrcoef(before.sound[0][inner], after.sound[0][inner])[0, 1]
    assert likeness > 0.95


def test_no_more_archives_are_packed_than_wanted(tmp_path: Path) -> None:
    for number in range(3):
        _shard([1.0]).save(tmp_path / "in" / f"kokoro-{number:04}-0000.npz")
    assert len(pack(tmp_path / "in", tmp_path / "packed", limit_bytes=1, most=2)) == 2


def test_shards_of_one_name_in_two_folders_both_come_back(tmp_path: Path) -> None:
    for voice in ("af_bella", "bm_george"):
        _shard([0.5]).save(tmp_path / "in" / voice / "kokoro-9000-0000.npz")
    archives = pack(tmp_path / "in", tmp_path / "packed", limit_bytes=10**6)
    assert unpack(archives, tmp_path / "out") == 2
    assert len(shards(tmp_path / "out")) == 2
