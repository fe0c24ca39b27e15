"""MP3 and AAC without a container: tags, and frames after what does not belong there.

The headers are those of ISO/IEC 11172-3 (layers I to III) and 13818-7 (ADTS).
"""

import re
from typing import NamedTuple

ID3 = re.compile(rb"ID3[\x02-\x04][\x00-\x0a](.)([\x00-\x7f]{4})", re.DOTALL)
ID3_HEADER_BYTES = 10
SEARCHED_BYTES = 1 << 16  # as far as FFmpeg looks for the first frame
CHAIN_FRAMES = 3  # that follow one another; chance makes one in 2 KB of noise, not three

_SYNC = re.compile(rb"\xff[\xe2-\xff]")
# kbit/s by MPEG version (1; 2 and 2.5) and layer
_KBITS = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES_HZ = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}


class Found(NamedTuple):
    format: str  # FFmpeg's name
    offset: int  # of the first frame


class _Header(NamedTuple):
    format: str
    fixed: bytes  # what all frames of a stream share
    frame_bytes: int


def without_first_tags(data: bytes) -> bytes:
    """`data` from behind the ID3v2 tags at its beginning: they hold pictures, not sound."""
    start = 0
    while tag := ID3.match(data, start):
        start = _end_of(tag)
    return data[start:]


def without_tags(data: bytes) -> bytes:
    """`data` without any ID3v2 tag: one stands before each of the files that were joined."""
    pieces, at = [], 0
    for tag in ID3.finditer(data):
        if tag.start() >= at:
            pieces.append(data[at : tag.start()])
            at = _end_of(tag)
    return b"".join([*pieces, data[at:]])


def _end_of(tag: re.Match[bytes]) -> int:
    """Where the tag ends, or its header where its size is a lie."""
    size = 0
    for byte in tag[2]:
        size = size << 7 | byte
    footer = ID3_HEADER_BYTES if tag[1][0] & 0x10 else 0
    end = tag.end() + size + footer
    return end if end < len(tag.string) else tag.end()


def find_frames(data: bytes) -> Found | None:
    """The first frame of MP3 or AAC near the beginning, behind zeros and what else was left there.

    It counts where two more of its kind follow, or where the file ends before they could.
    """
    silence = len(data) - len(data.lstrip(b"\x00"))
    for sync in _SYNC.finditer(data, silence, silence + SEARCHED_BYTES):
        header = _header(data, sync.start())
        if header is not None and _chain(data, sync.start(), header):
            return Found(header.format, sync.start())
    return None


def _chain(data: bytes, at: int, first: _Header) -> bool:
    """Whether frames of one kind follow one another from `at` on."""
    following: _Header | None = first
    for _ in range(CHAIN_FRAMES):
        if following is None or following[:2] != first[:2]:
            return False
        at += following.frame_bytes
        if at >= len(data) - 4:
            return True
        following = _header(data, at)
    return True


def _header(data: bytes, at: int) -> _Header | None:
    head = data[at : at + 6]
    if len(head) < 6 or head[0] != 0xFF or head[1] < 0xE2:
        return None
    return _adts_header(head) if head[1] & 0xF6 == 0xF0 else _mpeg_header(head)


def _adts_header(head: bytes) -> _Header | None:
    frame_bytes = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    if frame_bytes < 7 or head[2] >> 2 & 15 > 12:
        return None
    return _Header("aac", bytes((head[1], head[2] & 0xFD, head[3] & 0xC0)), frame_bytes)


def _mpeg_header(head: bytes) -> _Header | None:
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    kbits_index, rate_index = head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer == 4 or kbits_index in (0, 15) or rate_index == 3:
        return None
    rate_hz = _RATES_HZ[version][rate_index]
    bits_per_s = 1000 * _KBITS[1 if version == 3 else 2, layer][kbits_index - 1]
    padding = head[2] >> 1 & 1
    if layer == 1:
        frame_bytes = (12 * bits_per_s // rate_hz + padding) * 4
    else:
        samples = 576 if layer == 3 and version != 3 else 1152
        frame_bytes = samples // 8 * bits_per_s // rate_hz + padding
    return _Header("mp3", bytes((head[1] & 0xFE, head[2] & 0x0C)), frame_bytes)
