"""Files of chunks (WAV and its kin) whose header does not say how long the sound is, or lies.

A recorder writes the length when it ends. Where it was stopped, or wrote into a pipe, the header
says 0, the largest number there is, or what was right some minutes before.
"""

import logging
import re
import struct
from typing import NamedTuple

logger = logging.getLogger(__name__)


class Layout(NamedTuple):
    """How chunks follow one another in a kind of file."""

    first: int  # the offset of the first chunk
    id_bytes: int
    size: struct.Struct
    size_counts_header: bool
    alignment: int
    sound: bytes  # the id of the chunk of samples
    next_id: re.Pattern[bytes]  # what the id of any other chunk looks like


_FOUR_LETTERS = re.compile(rb"[A-Za-z][A-Za-z0-9 _\-]{3}|\xa9[A-Za-z0-9]{3}")
_GUID = re.compile(rb"[a-z]{4}.{12}", re.DOTALL)
LAYOUTS = {
    "wav": Layout(12, 4, struct.Struct("<I"), False, 2, b"data", _FOUR_LETTERS),
    "aiff": Layout(12, 4, struct.Struct(">I"), False, 2, b"SSND", _FOUR_LETTERS),
    "caf": Layout(8, 4, struct.Struct(">Q"), False, 1, b"data", _FOUR_LETTERS),
    "w64": Layout(40, 16, struct.Struct("<Q"), True, 8, b"data", _GUID),
}
DS64 = slice(28, 36)  # the size of RF64's data chunk, which itself says -1
UNKNOWN_BYTES = 1 << 31  # from here on a size means that the recorder did not know it
TRAILERS = (b"LIST", b"id3 ", b"ID3 ")  # what stands behind the sound, even if it is cut
ROUNDING_BYTES = 16  # a size that is off by less counts as right


class Chunk(NamedTuple):
    id: bytes
    at: int
    body: int  # its offset
    end: int  # by its size


def corrected(format: str, data: bytes) -> bytes:
    """`data`, with the sound's length put right where it cannot be what the header says."""
    layout = LAYOUTS.get(format)
    sound = None if layout is None else _sound_of(data, layout)
    if layout is None or sound is None or _is_plausible(data, layout, sound):
        return data
    if 0 < sound.end - sound.body < UNKNOWN_BYTES:
        logger.info(
            "a header (%s) promises %d bytes of sound; %d are there, and all are read",
            format, sound.end - sound.body, len(data) - sound.body,
        )  # fmt: skip
    return _to_the_end(data, layout, sound)


def _sound_of(data: bytes, layout: Layout) -> Chunk | None:
    at = layout.first
    while (chunk := _chunk(data, layout, at)) is not None:
        if chunk.id[: len(layout.sound)] == layout.sound:
            return chunk
        at = chunk.end + -chunk.end % layout.alignment
    return None


def _chunk(data: bytes, layout: Layout, at: int) -> Chunk | None:
    body = at + layout.id_bytes + layout.size.size
    if len(data) < body:
        return None
    (size,) = layout.size.unpack_from(data, at + layout.id_bytes)
    if size == 0xFFFFFFFF and data[:4] in (b"RF64", b"BW64"):
        size = int.from_bytes(data[DS64], "little")
    begin = at if layout.size_counts_header else body
    return Chunk(data[at : at + layout.id_bytes], at, body, max(begin + size, body))


def _is_plausible(data: bytes, layout: Layout, sound: Chunk) -> bool:
    """Whether the chunk ends where the file does, or another begins, or nothing but zeros are."""
    if abs(len(data) - sound.end) < ROUNDING_BYTES:
        return True
    if sound.end > len(data):
        return False
    ends = {sound.end, sound.end + -sound.end % layout.alignment}
    return any(_is_chunk(data, layout, at) for at in ends) or not data[sound.end :].strip(b"\x00")


def _is_chunk(data: bytes, layout: Layout, at: int) -> bool:
    chunk = _chunk(data, layout, at)
    if chunk is None or not layout.next_id.match(chunk.id):
        return False
    return chunk.end <= len(data) + 1 or chunk.id in TRAILERS


def _to_the_end(data: bytes, layout: Layout, sound: Chunk) -> bytes:
    # Only the header is written anew: a long recording should not stand in memory three times.
    patched = bytearray(data[: max(sound.body, DS64.stop)])
    begin = sound.at if layout.size_counts_header else sound.body
    size = len(data) - begin
    layout.size.pack_into(patched, sound.at + layout.id_bytes, size)
    if data[:4] in (b"RF64", b"BW64"):
        patched[DS64] = size.to_bytes(8, "little")
    return b"".join((patched, memoryview(data)[len(patched) :]))
