"""Which files of a folder are recordings."""

import os
import random
from pathlib import Path

import pytest

from serve_app.commands.end2end import left_out_line
from serve_app.commands.recordings import find_recordings
from tests.unit.deployments.audio_decoding.recordings import MAKERS, make_recording

OTHERS = {
    "notes.txt": b"Dear Ogg, RIFF and ID3\n",
    "empty": b"",
    "page.html": b"<!DOCTYPE html><html></html>",
    "list.m3u": b"#EXTM3U\nfile:///etc/passwd\n",
    "picture.png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(100),
    "picture.heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    "picture.avif": b"\0\0\0\x18ftypavif\0\0\0\0mif1avif",
    "paper.pdf": b"%PDF-1.7\n",
    "archive.zip": b"PK\x03\x04" + bytes(60),
    "results.jsonl": b'{"index": 0}\n',
    "noise.bin": random.Random(0).randbytes(200_000),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_every_format_that_is_decoded_is_found_whatever_its_name(tmp_path: Path, kind: str) -> None:
    for name in ("without a suffix", "recording.dat"):
        (tmp_path / name).write_bytes(make_recording(kind))
    assert len(find_recordings(str(tmp_path)).recordings) == 2


def test_what_is_no_recording_is_left_out_and_named(tmp_path: Path) -> None:
    for name, content in OTHERS.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a").write_bytes(make_recording("OGG VORBIS"))
    found = find_recordings(str(tmp_path))
    assert found.recordings == [str(tmp_path / "sub" / "a")]
    assert found.left_out == sorted(str(tmp_path / name) for name in [*OTHERS, "nowhere"])
    line = left_out_line(found.left_out)
    assert line.startswith("left out, no recordings: ") and line.endswith(" and 7 more")


def test_a_damaged_recording_is_taken_by_its_name_so_that_it_fails_by_name(tmp_path: Path) -> None:
    (tmp_path / "damaged.WAV").write_bytes(b"nothing")
    assert find_recordings(str(tmp_path)).recordings == [str(tmp_path / "damaged.WAV")]


def test_a_name_that_is_no_unicode_is_found(tmp_path: Path) -> None:
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    Path(odd).write_bytes(make_recording("WAV PCM_16"))
    assert find_recordings(str(tmp_path)).recordings == [odd]
