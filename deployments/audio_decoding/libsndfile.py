"""libsndfile's decoders: a second opinion."""

import io
import re
from collections.abc import Iterator

import soundfile

from deployments.audio_decoding.block import Block, Undecodable
from deployments.audio_decoding.containers import Part

BLOCK_VALUES = 1 << 16  # of all channels
# MP3 by itself, and by the codec's number in a WAV, and CAF, which may hold ALAC: libsndfile's
# decoders of both print warnings to the process's standard output and error.
_PRINTING = re.compile(
    rb"ID3|\xff|caff|.{0,4096}?fmt .{4,20}?(?:[\x50\x55]\x00|\xfe\xff.{22}[\x50\x55]\x00)",
    re.DOTALL,
)


class _File(io.BytesIO):
    """A file for a library that prints what a callback raises."""

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Stay where it is rather than before the beginning, where damaged headers point."""
        try:
            return super().seek(offset, whence)
        except (ValueError, OverflowError):
            return self.tell()


def blocks(part: Part) -> Iterator[Block]:
    """Decode a file of any format that libsndfile recognizes and is quiet about.

    Raises:
        Undecodable: it recognizes none, or the file is damaged from its beginning on.
    """
    if part.format in ("mp3", "aac") or _PRINTING.match(part.data):
        raise Undecodable("libsndfile is not asked")
    try:
        with soundfile.SoundFile(_File(part.data)) as file:
            frames = max(1, BLOCK_VALUES // file.channels)
            while len(values := file.read(frames, dtype="float32", always_2d=True)):
                yield Block(values.T, file.samplerate)
    except (soundfile.LibsndfileError, ValueError, MemoryError) as error:
        raise Undecodable("no known format, or the file is damaged") from error
