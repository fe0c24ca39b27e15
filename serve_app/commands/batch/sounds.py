"""The files that hold the spoken answers of a batch."""

import asyncio
import hashlib
import re
from pathlib import Path
from typing import Any

from serve_app.whole_files import write_whole

EXTENSIONS = {
    "audio/mpeg": "mp3",
    "audio/ogg": "opus",
    "audio/aac": "aac",
    "audio/flac": "flac",
    "audio/wav": "wav",
    "audio/pcm": "pcm",
}

READABLE_CHARS = 40
DIGITS = 16  # of a hash: 64 bits


class Sounds:
    """A folder beside the answers: `answers.jsonl` has `answers.audio/`."""

    def __init__(self, answers: Path) -> None:
        self._folder = answers.with_suffix(".audio")
        for part in self._folder.glob(".*.part"):  # of a run that was killed
            part.unlink(missing_ok=True)

    async def keep(self, custom_id: str, media_type: str, data: bytes) -> dict[str, Any]:
        """Write the sound of one line; gives what its answer says of the file.

        The file is there whole before the answer is; one of an earlier run is replaced.

        Raises:
            OSError: the disk is full, or the folder cannot be made.
        """
        path = self._folder / f"{file_stem(custom_id)}.{EXTENSIONS.get(media_type, 'bin')}"
        await asyncio.to_thread(self._write, path, data)
        file = f"{self._folder.name}/{path.name}"
        return {"object": "audio.file", "file": file, "type": media_type, "bytes": len(data)}

    def _write(self, path: Path, data: bytes) -> None:
        self._folder.mkdir(exist_ok=True)
        write_whole(path, data)


def file_stem(custom_id: str) -> str:
    """A name of a file that can be read, and that no other id has."""
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", custom_id)[:READABLE_CHARS].strip("-")
    digest = hashlib.sha256(custom_id.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{readable}-{digest[:DIGITS]}".lstrip("-")
