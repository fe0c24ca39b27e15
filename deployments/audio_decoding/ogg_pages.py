"""Ogg pages (RFC 3533): which begin a stream, and repair of those that are damaged or cut.

A page holds up to a second of speech, and a demuxer drops one whole whose checksum is wrong. With a
checksum that fits, only the packet that is damaged is lost, or only the one that was cut.
"""

import bisect
import itertools
import zlib

CAPTURE_PATTERN = b"OggS"
HEADER_BYTES = 27  # the last one counts the lengths of segments that follow
_CHECKSUM = 22  # its offset
_BEGINS_STREAM = 2  # a flag
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def is_beside(data: bytes, first: int, other: int) -> bool:
    """Whether the streams that begin at `first` and `other` play together, as sound and film do."""
    at: int | None = first
    while at is not None and at < other and _is_page(data, at) and data[at + 5] & _BEGINS_STREAM:
        at = _end_of_page(data, at)
    return at == other


def repaired(data: bytes) -> bytes:
    """The same pages with right checksums; the last one ends where the file was cut."""
    pieces, at = [], 0
    while at < len(data):
        end = _end_of_page(data, at) if _is_page(data, at) else None
        if end is not None and (end == len(data) or _is_page(data, end)):
            pieces.append(_with_checksum(data[at:end]))
            at = end
            continue
        following = data.find(CAPTURE_PATTERN, at + 1)
        if following < 0:
            pieces.append(_cut(data[at:]))
            break
        pieces.append(data[at:following])  # a header is damaged: the demuxer looks for the next
        at = following
    return b"".join(pieces)


def _is_page(data: bytes, at: int) -> bool:
    return data[at : at + len(CAPTURE_PATTERN)] == CAPTURE_PATTERN


def _end_of_page(data: bytes, at: int) -> int | None:
    """Where the page at `at` ends by its header; None where the header itself is cut."""
    if len(data) < at + HEADER_BYTES:
        return None
    body = at + HEADER_BYTES + data[at + HEADER_BYTES - 1]
    return None if len(data) < body else body + sum(data[at + HEADER_BYTES : body])


def _cut(page: bytes) -> bytes:
    """The page of those segments that are there; nothing where its header is not."""
    if not _is_page(page, 0) or _end_of_page(page, 0) is None:
        return b""
    lacing = page[HEADER_BYTES : HEADER_BYTES + page[HEADER_BYTES - 1]]
    body = page[HEADER_BYTES + len(lacing) :]
    ends = list(itertools.accumulate(lacing))
    there = bisect.bisect_right(ends, len(body))
    body = body[: ends[there - 1]] if there else b""
    return _with_checksum(page[: HEADER_BYTES - 1] + bytes([there]) + lacing[:there] + body)


def _with_checksum(page: bytes) -> bytes:
    """Ogg's CRC-32 is zlib's with the bits of every byte, and of the sum, the other way round."""
    unsigned = page[:_CHECKSUM] + bytes(4) + page[_CHECKSUM + 4 :]
    mirrored = ~zlib.crc32(unsigned.translate(_MIRRORED), 0xFFFFFFFF) & 0xFFFFFFFF
    checksum = mirrored.to_bytes(4, "big").translate(_MIRRORED)
    return page[:_CHECKSUM] + checksum + page[_CHECKSUM + 4 :]
