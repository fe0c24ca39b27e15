"""Spoken sentences in shards: what several processes write while training reads.

A shard is one `.npz` of a few hundred utterances; a whole corpus is a folder of them. `pack` makes
Ogg Opus of a folder, so that hours of it travel in a few megabytes, and `unpack` the folder again.
"""

import argparse
import io
import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from tests.nano.sizes import SOUND_RATE_HZ, SPEECH_RATE_HZ

_OPUS_LEVEL: Final = 0.9  # of libsndfile: about 31 kbit/s


@dataclass
class Shard:
    """Utterances: what is said, by whom, and how it sounds at 16 and at 24 kHz."""

    sentences: list[str] = field(default_factory=list)
    voices: list[str] = field(default_factory=list)  # "af_heart", "espeak en-us+m1"
    speeds: list[float] = field(default_factory=list)
    phonemes: list[list[int]] = field(default_factory=list)  # as an American reads the sentence
    speech: list[np.ndarray] = field(default_factory=list)  # [N] int16, 16 kHz
    sound: list[np.ndarray] = field(default_factory=list)  # [N] int16, 24 kHz; may be left out

    def __len__(self) -> int:
        return len(self.sentences)

    def save(self, path: Path) -> None:
        """Write the shard, all or nothing: who lists the folder sees whole shards only."""
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {
            "speech": np.concatenate(self.speech),
            "speech_lengths": np.array([len(s) for s in self.speech]),
        }
        if self.sound:
            arrays["sound"] = np.concatenate(self.sound)
            arrays["sound_lengths"] = np.array([len(s) for s in self.sound])
        index = np.frombuffer(json.dumps(self._index()).encode(), dtype=np.uint8)
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            np.savez(file, index=index, **arrays)
        partial.rename(path)

    @classmethod
    def open(cls, path: Path, *, sound: bool = False) -> "Shard":
        """Read what `save` wrote; the 24 kHz only where it is asked for."""
        with np.load(path) as arrays:
            shard = cls(**json.loads(arrays["index"].tobytes()))
            shard.speech = _parted(arrays["speech"], arrays["speech_lengths"])
            if sound and "sound" in arrays:
                shard.sound = _parted(arrays["sound"], arrays["sound_lengths"])
        return shard

    def _index(self) -> dict[str, object]:
        return {
            "sentences": self.sentences,
            "voices": self.voices,
            "speeds": self.speeds,
            "phonemes": self.phonemes,
        }


def shards(folder: Path) -> list[Path]:
    """The shards of a folder and of those in it, in the order of their names."""
    return sorted(folder.rglob("*.npz"))


def pack(folder: Path, archive: Path, *, limit_bytes: int, most: int = 100) -> list[Path]:
    """Shards as Opus at 24 kHz in `most` zip files of at most `limit_bytes`: archive-0.zip, …

    Only shards that hold 24 kHz sound are packed.
    """
    written: list[Path] = []
    zipped, size = None, 0
    for path in shards(folder):
        shard = Shard.open(path, sound=True)
        if not shard.sound:
            continue
        members = list(_members("_".join(path.relative_to(folder).with_suffix("").parts), shard))
        more = sum(len(data) for _, data in members) + 2000
        if zipped is None or size + more > limit_bytes:
            if zipped is not None:
                zipped.close()
            if len(written) == most:
                return written
            written.append(archive.with_name(f"{archive.name}-{len(written)}.zip"))
            zipped, size = zipfile.ZipFile(written[-1], "w", zipfile.ZIP_STORED), 0
        for name, data in members:
            zipped.writestr(name, data)
        size += more
    if zipped is not None:
        zipped.close()
    return written


def unpack(archives: Sequence[Path], folder: Path) -> int:
    """Shards out of what `pack` wrote; how many."""
    import soundfile
    import soxr

    count = 0
    for path in archives:
        with zipfile.ZipFile(path) as zipped:
            for name in zipped.namelist():
                if not name.endswith(".json"):
                    continue
                index = json.loads(zipped.read(name))
                lengths = index.pop("lengths")
                file = io.BytesIO(zipped.read(name.replace(".json", ".ogg")))
                samples, _ = soundfile.read(file, dtype="float32")
                shard = Shard(**index)
                for sound in _parted(samples, np.array(lengths)):
                    shard.sound.append(int16(sound))
                    shard.speech.append(int16(soxr.resample(sound, SOUND_RATE_HZ, SPEECH_RATE_HZ)))
                shard.save(folder / name.replace(".json", ".npz"))
                count += 1
    return count


def int16(samples: np.ndarray) -> np.ndarray:
    """[N] floats of -1 … 1 as 16 bits."""
    return np.clip(np.round(samples * 32768), -32768, 32767).astype(np.int16)


def _members(name: str, shard: Shard) -> Iterator[tuple[str, bytes]]:
    import soundfile

    file = io.BytesIO()
    sound = np.concatenate(shard.sound)
    with soundfile.SoundFile(
        file, "w", SOUND_RATE_HZ, 1, "OPUS", format="OGG", compression_level=_OPUS_LEVEL
    ) as opus:
        for start in range(0, len(sound), SOUND_RATE_HZ):  # long writes overflow libsndfile's stack
            opus.write(sound[start : start + SOUND_RATE_HZ])
    lengths = [len(s) for s in shard.sound]
    yield f"{name}.json", json.dumps({**shard._index(), "lengths": lengths}).encode()
    yield f"{name}.ogg", file.getvalue()


def _parted(samples: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
    ends = np.cumsum(lengths)
    return [samples[end - n : end] for end, n in zip(ends, lengths, strict=True)]


def main() -> None:
    """`pack FOLDER ARCHIVE` or `unpack FOLDER ARCHIVE...` from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("pack", "unpack"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("archives", type=Path, nargs="+")
    parser.add_argument("--megabytes", type=float, default=15.0, help="of an archive")
    parser.add_argument("--most", type=int, default=100, help="archives")
    args = parser.parse_args()
    if args.what == "unpack":
        print(unpack(args.archives, args.folder), "shards")
        return
    limit = round(args.megabytes * 1_000_000)
    print(*pack(args.folder, args.archives[0], limit_bytes=limit, most=args.most))


if __name__ == "__main__":
    main()
