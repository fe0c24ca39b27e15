"""MP4's index (ISO/IEC 14496-12): how many samples it names, before FFmpeg believes it.

A few bytes can say that a hundred million samples follow, all of one size. FFmpeg makes an entry of
36 bytes for each of them, and again for each edit: 10 KB of file took 2.8 GB of memory.
"""

import re

from deployments.audio_decoding.block import Undecodable

MAX_ENTRIES = 4_000_000  # 22 hours of AAC, 140 MB

_SIZES = re.compile(rb"stsz.{4}(.{4})(.{4})", re.DOTALL)
_RUN = re.compile(rb"trun.{4}(.{4})", re.DOTALL)
_EDITS = re.compile(rb"elst.{4}(.{4})", re.DOTALL)
_TIMES = re.compile(rb"stts.{4}(.{12})", re.DOTALL)
_ONE_BY_ONE = re.compile(rb"\x00\x00\x00\x01.{4}\x00\x00\x00\x01", re.DOTALL)


def require_sane(data: bytes) -> None:
    """Refuse an index that is not there, or would take more memory than any recording needs.

    Raises:
        Undecodable: there is none, or it names more than MAX_ENTRIES.
    """
    if b"moov" not in data:
        raise Undecodable("its index is missing: the end was cut off, or never written")
    runs = sum(_number(match[1]) for match in _RUN.finditer(data))
    edits = max((_number(match[1]) for match in _EDITS.finditer(data)), default=1)
    if (runs + _sizes(data)) * max(1, edits) > MAX_ENTRIES:
        raise Undecodable("its index names more samples than a recording has")


def _sizes(data: bytes) -> int:
    """The samples of `stsz`, without those of PCM: FFmpeg takes them in whole chunks."""
    entries = 0
    is_pcm = all(_ONE_BY_ONE.match(match[1]) for match in _TIMES.finditer(data))
    for match in _SIZES.finditer(data):
        size, count = _number(match[1]), _number(match[2])
        is_there = size * count <= len(data)
        if size == 0 or not (is_there or is_pcm):
            entries += count
    return entries


def _number(big_endian: bytes) -> int:
    return int.from_bytes(big_endian, "big")
