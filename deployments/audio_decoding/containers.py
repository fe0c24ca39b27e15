"""Which container a file is, by its mark, and where recordings were set end to end in it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from deployments.audio_decoding import chunk_sizes, mov_index, mpeg_frames, ogg_pages
from deployments.audio_decoding.block import Undecodable

# Each takes a millisecond to open, however short it is.
MAX_PARTS = 1000


class Mark(NamedTuple):
    """How a container begins. Joined files are searched for it: it must not occur by chance."""

    format: str  # FFmpeg's name
    literal: bytes
    offset: int  # of the literal
    pattern: re.Pattern[bytes]  # of the whole mark, from offset 0 on


def _mark(format: str, literal: bytes, pattern: bytes, offset: int = 0) -> Mark:
    return Mark(format, literal, offset, re.compile(pattern, re.DOTALL))


# What FFmpeg is asked for: left to find out by itself it would take playlists too, and those
# name files of this machine.
MARKS = (
    _mark("wav", b"RIFF", rb"RIFF....WAVE"),
    _mark("wav", b"RF64", rb"RF64....WAVE"),
    _mark("wav", b"BW64", rb"BW64....WAVE"),
    _mark("w64", b"riff\x2e\x91\xcf\x11", rb"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb"),
    _mark("aiff", b"FORM", rb"FORM....AIF[FC]"),
    _mark("au", b".snd", rb"\.snd\x00\x00.{6}\x00\x00\x00[\x01-\x1b]"),
    _mark("caf", b"caff", rb"caff\x00\x01\x00\x00"),
    _mark("flac", b"fLaC", rb"fLaC[\x00\x80]\x00\x00\x22"),
    _mark("ogg", b"OggS", rb"OggS\x00[\x02\x03\x06\x07]"),
    _mark("amr", b"#!AMR", rb"#!AMR(?:-WB)?\n"),
    _mark("asf", b"\x30\x26\xb2\x75", rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa"),
    _mark("matroska", b"\x1a\x45\xdf\xa3", rb"\x1a\x45\xdf\xa3.{1,60}?(?:webm|matroska)"),
    _mark("mov", b"ftyp", rb"\x00\x00..ftyp", offset=4),
    _mark("flv", b"FLV\x01", rb"FLV\x01[\x01\x04\x05]\x00\x00\x00\x09"),
    _mark("avi", b"RIFF", rb"RIFF....AVI "),
    _mark("voc", b"Creative Voice File", rb"Creative Voice File\x1a"),
    _mark("nistsphere", b"NIST_1A", rb"NIST_1A\n"),
)
# Weaker ones, which hold only at the beginning of a file.
FIRST_MARKS = (
    _mark("mov", b"", rb"\x00...(?:moov|mdat|moof|wide|free|skip|pnot|styp|sidx)"),
    _mark("mpegts", b"", rb"G.{187}G.{187}G"),
    _mark("matroska", b"", rb"\x1a\x45\xdf\xa3"),
    _mark("ogg", b"", rb"OggS"),
)

# Pictures in the container of recordings: HEIC and AVIF.
_PICTURE = re.compile(rb"....ftyp(?:hei[cfmsx]|hev[cmsx]|mif1|msf1|av(?:if|is))", re.DOTALL)
# Twice as far as frames are searched: each that is found has room for those that follow it.
HEAD_BYTES = 2 * mpeg_frames.SEARCHED_BYTES


@dataclass(frozen=True, slots=True)
class Part:
    """One recording of a file."""

    format: str | None  # FFmpeg's name; None where no mark is known
    data: bytes


def parts_of(data: bytes) -> list[Part]:
    """The recordings that a file holds, in their order; nearly always it is one.

    Raises:
        Undecodable: there are more than MAX_PARTS.
    """
    data = mpeg_frames.without_first_tags(data)
    mark = _mark_of(data)
    if mark is None:
        return [_headerless(data)]
    starts = _starts(data, mark)
    ends = [*starts[1:], len(data)]
    return [_part(mark, data[start:end]) for start, end in zip(starts, ends, strict=True)]


def is_recording(head: bytes) -> bool:
    """Whether a file is of a format that is decoded, by its first HEAD_BYTES. It may hold no sound.

    Without a container it takes frames of MP3 or AAC in its first half: among the last bytes chance
    makes one whose followers cannot be checked.
    """
    if _mark_of(head) is not None:
        return _PICTURE.match(head) is None
    found = mpeg_frames.find_frames(head)
    return found is not None and found.offset <= len(head) // 2


def _mark_of(data: bytes) -> Mark | None:
    return next((mark for mark in MARKS + FIRST_MARKS if mark.pattern.match(data)), None)


def _headerless(data: bytes) -> Part:
    """MP3 and AAC have frames and nothing before, except what a broken download leaves there."""
    data = mpeg_frames.without_tags(data)
    found = mpeg_frames.find_frames(data)
    return Part(None, data) if found is None else Part(found.format, data[found.offset :])


def _starts(data: bytes, mark: Mark) -> list[int]:
    starts = [0]
    for start in _marks_in(data, mark):
        if mark.format != "ogg" or not ogg_pages.is_beside(data, starts[-1], start):
            starts.append(start)
        if len(starts) > MAX_PARTS:
            raise Undecodable(f"it holds more than {MAX_PARTS} recordings, one after another")
    return starts


def _marks_in(data: bytes, mark: Mark) -> Iterator[int]:
    """Where else in `data` the mark is."""
    at = data.find(mark.literal, mark.offset + 1) if mark.literal else -1
    while at >= 0:
        if mark.pattern.match(data, at - mark.offset):
            yield at - mark.offset
        at = data.find(mark.literal, at + 1)


def _part(mark: Mark, data: bytes) -> Part:
    if mark.format == "ogg":
        return Part("ogg", ogg_pages.repaired(data))
    if mark.format == "mov":
        mov_index.require_sane(data)
    return Part(mark.format, chunk_sizes.corrected(mark.format, data))
