"""Recordings of people, out of Debian's packages: `python -m tests.benchmarks.turns.humans --help`.

An announcer's prompts (`asterisk-core-sounds-en-g722`, CC-BY-SA-3.0, with the texts of
`asterisk-core-sounds-en`), and actors' lines of dialogue (`flight-of-the-amazon-queen`, free to
distribute, 11 kHz). Both pause where they read so. The folder that is made is what
`run_turns.py --speech` takes. `actors.tsv` says where the actors' pauses are, and whether Whisper
base ended a sentence there (`||`) or not (`|`); it holds no text.
"""

import gzip
import io
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import av
import numpy as np
import soundfile
import soxr
import typer

from serve_app.sound.voice_activity import RATE_HZ

ACTORS = Path(__file__).parent / "actors.tsv"
PROMPT_S = (2.0, 12.0)
MARKS = re.compile(r"([,:;.?!]) +(?=\S)")
SENTENCE_ENDS = ".?!"
ENTRY = struct.Struct(">12sBII")  # name, bundle, offset, size
ENTRIES_AT = 13  # behind the signature, the version and the kind of compression

app = typer.Typer(add_completion=False)


@app.command()
def announcer(
    sounds: Annotated[Path, typer.Argument(help="The package's folder `en_US_f_Allison`.")],
    texts: Annotated[Path, typer.Argument(help="`core-sounds-en.txt.gz`.")],
    out: Annotated[Path, typer.Argument(help="The folder to make.")],
) -> None:
    """Prompts of 2-12 s; the mark is at the comma or full stop that is nearest to the middle."""
    found = []
    for line in gzip.decompress(texts.read_bytes()).decode("utf-8").splitlines():
        name, _, text = line.partition(":")
        path, marked = sounds / f"{name}.g722", _marked(text.strip())
        if marked and path.exists():
            samples = _decoded(path.read_bytes(), "g722")
            if PROMPT_S[0] <= len(samples) / RATE_HZ <= PROMPT_S[1]:
                found.append((samples, marked, ""))
    _write(out, found)


@app.command()
def actors(
    archive: Annotated[Path, typer.Argument(help="The package's file `queen.1c`.")],
    out: Annotated[Path, typer.Argument(help="The folder to make.")],
) -> None:
    """The lines of `actors.tsv`."""
    clips, found = dict(_clips(archive.read_bytes())), []
    for line in ACTORS.read_text(encoding="utf-8").splitlines():
        name, cut_s, mark = line.split("\t")
        found.append((_decoded(clips[name], "mp3"), mark, cut_s))
    _write(out, found)


def _marked(text: str) -> str | None:
    """With `|` or `||` behind the mark nearest to the middle; None where it has no mark."""
    marks = list(MARKS.finditer(text))
    if not marks or "..." in text:
        return None
    mark = min(marks, key=lambda each: abs(each.end() - len(text) / 2))
    sign = "||" if mark[1] in SENTENCE_ENDS else "|"
    return f"{text[: mark.end()]}{sign} {text[mark.end() :]}"


def _clips(archive: bytes) -> Iterator[tuple[str, bytes]]:
    (count,) = struct.unpack_from(">H", archive, ENTRIES_AT)
    for name, _, offset, size in ENTRY.iter_unpack(
        archive[ENTRIES_AT + 2 : ENTRIES_AT + 2 + count * ENTRY.size]
    ):
        yield name.rstrip(b"\0").decode("latin-1"), archive[offset : offset + size]


def _decoded(data: bytes, container: str) -> np.ndarray:
    """[N] float32 at 16 kHz."""
    with av.open(io.BytesIO(data), format=container) as file:
        frames = [frame.to_ndarray().reshape(-1) for frame in file.decode(audio=0)]
        rate_hz = file.streams.audio[0].rate
    samples = np.concatenate(frames)
    if samples.dtype == np.int16:
        samples = samples / 32768
    return soxr.resample(samples.astype(np.float32), rate_hz, RATE_HZ)


def _write(out: Path, found: list[tuple[np.ndarray, str, str]]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for number, (samples, _, _) in enumerate(found):
        soundfile.write(out / f"{number:03}.wav", samples, RATE_HZ)
    texts, cuts = [text for _, text, _ in found], [cut for *_, cut in found]
    (out / "sentences.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    if any(cuts):
        (out / "cuts.txt").write_text("\n".join(cuts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    app()
