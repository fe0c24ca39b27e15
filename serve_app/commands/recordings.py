"""The recordings that a path leads to: a file, a folder or a pattern."""

import glob
import os
from dataclasses import dataclass
from pathlib import Path

from deployments.audio_decoding.containers import HEAD_BYTES, is_recording
from deployments.errors import ConfigError

# By these names a file is taken for a recording even if it is damaged: then it fails by name.
_LOSSLESS = (".aif", ".aiff", ".au", ".caf", ".flac", ".w64", ".wav")
_LOSSY = (".aac", ".amr", ".m4a", ".mka", ".mp3", ".oga", ".ogg", ".opus", ".webm", ".wma")
SOUND_SUFFIXES = frozenset((*_LOSSLESS, *_LOSSY))


@dataclass(frozen=True, slots=True)
class Found:
    """Both in order of their names."""

    recordings: list[str]
    left_out: list[str]  # files of a folder that are no recordings


def find_recordings(path: str) -> Found:
    """The recordings that a file, a folder (with all below it) or a pattern names.

    A file and what a pattern names are taken as they are; in a folder, a file's name or its first
    bytes decide.

    Raises:
        ConfigError: there are none.
    """
    place = Path(os.path.expanduser(path))
    if place.is_dir():
        found = _in_folder(place)
    elif place.is_file():
        found = Found([str(place)], [])
    else:
        names = glob.glob(str(place), recursive=True)
        found = Found(sorted(name for name in names if Path(name).is_file()), [])
    if not found.recordings:
        what = "a folder without recordings" if place.is_dir() else "no such file"
        raise ConfigError(f"--audio-path {path}: {what}")
    return found


def _in_folder(folder: Path) -> Found:
    files = [path for path in folder.rglob("*") if not path.is_dir()]
    taken = {str(path) for path in files if _is_recording(path)}
    return Found(sorted(taken), sorted({str(path) for path in files} - taken))


def _is_recording(path: Path) -> bool:
    if not path.is_file():  # a socket, a link that leads nowhere
        return False
    if path.suffix.lower() in SOUND_SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            return is_recording(file.read(HEAD_BYTES))
    except OSError:
        return False
