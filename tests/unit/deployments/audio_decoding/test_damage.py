"""Damage, lies and what does not belong in a recording: no sound beside it is lost."""

import io
import logging
import struct
import subprocess
import sys
from collections.abc import Callable

import av
import numpy as np
import pytest

from deployments.audio_decoding import decode_audio, ffmpeg
from deployments.audio_decoding.block import Notes
from deployments.audio_decoding.containers import Part
from deployments.errors import AudioUnreadable
from tests.unit.deployments.audio_decoding.recordings import (
    MAKERS,
    make_recording,
    make_sound,
    write_soundfile,
)

RATE_HZ = 24_000
SECONDS = 3.0
PADDING_S = 0.12
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF" + np.random.default_rng(1).bytes(3_000) + b"\xff\xd9"


def seconds_of(data: bytes) -> float:
    samples, rate_hz = decode_audio(data)
    return len(samples) / rate_hz


def with_hole(data: bytes, seed: int, size: int = 12) -> bytes:
    """`data` with some bytes of its middle half replaced."""
    rng = np.random.default_rng(seed)
    at = int(rng.integers(len(data) // 4, len(data) * 3 // 4))
    return data[:at] + rng.bytes(size) + data[at + size :]


LOST_S = {
    "FLAC PCM_16": 0.4, "flac, piped": 0.4, "OGG VORBIS": 0.5, "OGG OPUS": 0.2, "mp3": 0.3,
    "adts": 0.3, "m4a": 0.3, "mp4 in fragments": 0.5, "m4a alac": 0.4, "wma": 0.5, "amr": 0.5,
    "mpegts": 0.5, "wav with mp3": 0.3,
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "lost_s"), [(name, lost_s) for name, lost_s in LOST_S.items() if name in MAKERS]
)
def test_one_damaged_packet_costs_itself_alone(name: str, lost_s: float) -> None:
    data = make_recording(name, SECONDS)
    for seed in range(8):
        assert abs(seconds_of(with_hole(data, seed)) - SECONDS) < lost_s + PADDING_S


def test_a_damaged_packet_in_an_ogg_page_does_not_cost_the_page() -> None:
    data = bytearray(make_recording("OGG OPUS", SECONDS))
    whole_s = seconds_of(bytes(data))
    page = data.index(b"OggS", len(data) // 3)
    data[page + 1500] ^= 0xFF
    assert whole_s - seconds_of(bytes(data)) < 0.05  # a page is a second


def test_damage_makes_no_noise_in_a_flac() -> None:
    sound = make_sound(SECONDS, RATE_HZ)
    data = bytearray(write_soundfile(sound, RATE_HZ, "FLAC"))
    data[len(data) // 2] ^= 0x55
    samples, _ = decode_audio(bytes(data))
    assert len(sound) - len(samples) == 4096  # a block
    assert np.abs(samples[:4096] - sound[:4096]).max() < 1e-4
    assert np.abs(samples[-4096:] - sound[-4096:]).max() < 1e-4


def test_what_damage_makes_absurdly_loud_is_skipped() -> None:
    data, loud = make_recording("mp3", SECONDS), 0
    for seed in range(60):
        rng, damaged = np.random.default_rng(seed), bytearray(data)
        for at in rng.integers(len(data) // 4, len(data), 20):
            damaged[at] ^= int(rng.integers(1, 256))
        notes = Notes()
        list(ffmpeg.blocks(Part("mp3", bytes(damaged)), notes))
        loud += notes.bursts > 0
        samples, _ = decode_audio(bytes(damaged))
        assert np.abs(samples).max() <= 16
        assert len(samples) / RATE_HZ > SECONDS - 1.0
    assert loud or ffmpeg.PYAV >= 19  # it did not with its FFmpeg


def test_what_was_skipped_is_logged_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    decode_audio(make_recording("FLAC PCM_16", SECONDS))
    assert not caplog.records
    decode_audio(make_recording("FLAC PCM_16", SECONDS)[:-40])
    assert len(caplog.records) == 1
    assert "1 packets" in caplog.text and "of 3.00 s" in caplog.text
    caplog.clear()
    decode_audio(make_recording("WAV PCM_16", SECONDS)[:-4000])
    assert len(caplog.records) == 1 and "144000 bytes" in caplog.text


def test_a_joined_recording_that_cannot_be_read_does_not_cost_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    good = make_recording("m4a, index first", SECONDS)
    assert seconds_of(good + good[:200] + good) > 2 * SECONDS
    assert "1 of 3 joined recordings" in caplog.text


def test_a_flac_of_unknown_length_is_read() -> None:
    flac = bytearray(make_recording("FLAC PCM_16", SECONDS))
    flac[21] &= 0xF0  # STREAMINFO's total of samples
    flac[22:42] = bytes(20)  # … and its MD5
    assert seconds_of(bytes(flac)) == SECONDS
    assert seconds_of(bytes(flac) * 2) == 2 * SECONDS


LIES = [0, 1_000, 100_001, 1_000_000, 0x7FFF_FFFF, 0xFFFF_FFFF]


@pytest.mark.parametrize("size", LIES)
@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("WAV PCM_16", lambda data: (data.index(b"data") + 4, "<I")),
        ("WAV PCM_16", lambda data: (4, "<I")),
        ("WAV FLOAT", lambda data: (data.index(b"data") + 4, "<I")),
        ("wav, piped", lambda data: (4, "<I")),
        ("RF64 PCM_16", lambda data: (28, "<Q")),
        ("W64 PCM_16", lambda data: (data.index(b"data") + 16, "<Q")),
        ("W64 PCM_16", lambda data: (16, "<Q")),
        ("AIFF PCM_16", lambda data: (data.index(b"SSND") + 4, ">I")),
        ("AIFF PCM_16", lambda data: (data.index(b"COMM") + 10, ">I")),
        ("AU PCM_16", lambda data: (8, ">I")),
        ("caf, piped", lambda data: (data.index(b"data") + 4, ">Q")),
    ],
)
def test_a_length_that_is_a_lie_costs_no_sound(
    name: str, field: Callable[[bytes], tuple[int, str]], size: int
) -> None:
    data = bytearray(make_recording(name, SECONDS))
    offset, layout = field(bytes(data))
    struct.pack_into(layout, data, offset, size)
    assert abs(seconds_of(bytes(data)) - SECONDS) < 0.01


def test_chunks_behind_the_sound_are_no_sound() -> None:
    chunk = b"LIST" + struct.pack("<I", 5_000) + b"INFO" + b"noise" * 1000
    for trailer in (chunk[:5_008], chunk[:2_000], bytes(50_000), b"id3 \x08\0\0\0ID3\x03\0\0\0\0"):
        assert seconds_of(make_recording("WAV PCM_16", SECONDS) + trailer) == SECONDS


@pytest.mark.parametrize("frames", [1, 7, 10_000_000])
def test_an_mp3_header_that_counts_wrongly_costs_no_sound(frames: int) -> None:
    data = bytearray(make_recording("mp3", SECONDS))
    at = data.index(b"Info") if b"Info" in data else data.index(b"Xing")
    struct.pack_into(">I", data, at + 8, frames)
    assert seconds_of(bytes(data)) > SECONDS - PADDING_S


def id3v2(body: bytes, claimed: int | None = None) -> bytes:
    size = len(body) if claimed is None else claimed
    syncsafe = bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x03\x00\x00" + syncsafe + body


def picture() -> bytes:
    frame = b"\x00image/jpeg\x00\x03\x00" + JPEG
    return b"APIC" + struct.pack(">I", len(frame)) + b"\x00\x00" + frame


ID3V1 = b"TAG" + b"a title".ljust(125, b"\x00")
APE = (
    b"APETAGEX"
    + struct.pack("<IIII", 2000, 47, 1, 0)
    + bytes(8)
    + b"\x0f\0\0\0\0\0\0\0Title\0a long title" * 2
)
TAGS = {
    "an ID3v2 tag": (id3v2(b"TIT2\0\0\0\x03\0\0\0ab"), b""),
    "a Latin-1 title": (id3v2(b"TIT2\0\0\0\x04\0\0\x03\xe9\xff\xfe"), b""),
    "two ID3v2 tags": (id3v2(bytes(100)) * 2, b""),
    "a cover": (id3v2(picture()), b""),
    "an ID3v2 tag longer than the file": (id3v2(bytes(100), 0xFFFFFFF), b""),
    "an ID3v1 tag": (b"", ID3V1),
    "an APE and an ID3v1 tag": (b"", APE + ID3V1),
    "both": (id3v2(picture()), APE + ID3V1),
    "zeros before": (bytes(100_000), b""),
    "zeros behind": (b"", bytes(10_000)),
    "garbage before": (b"HTTP/1.1 200 OK\r\n\r\n" + JPEG, b""),
    "a line break before": (b"\r\n", b""),
}


@pytest.mark.parametrize("name", ["mp3 without a header", "mp3", "mp2", "adts"])
@pytest.mark.parametrize("tags", TAGS)
def test_what_stands_before_and_behind_frames_is_no_sound(name: str, tags: str) -> None:
    before, behind = TAGS[tags]
    data = make_recording(name, SECONDS)
    whole_s = seconds_of(data)
    assert abs(seconds_of(before + data + behind) - whole_s) < 0.1
    joined = before + data + behind
    if "before" not in tags:
        assert abs(seconds_of(joined * 2) - 2 * whole_s) < 0.25


@pytest.mark.parametrize("name", ["WAV PCM_16", "FLAC PCM_16", "mp3"])
def test_an_id3_tag_before_any_format_is_passed_over(name: str) -> None:
    data = make_recording(name, SECONDS)
    assert seconds_of(id3v2(picture()) + data) == seconds_of(data)


def test_a_picture_in_a_flac_is_passed_over() -> None:
    flac = make_recording("FLAC PCM_16", SECONDS)
    body = (
        struct.pack(">II", 3, 10) + b"image/jpeg" + bytes(20) + struct.pack(">I", len(JPEG)) + JPEG
    )
    block = b"\x06" + len(body).to_bytes(3, "big") + body
    assert seconds_of(flac[:42] + block + flac[42:]) == SECONDS


@pytest.mark.parametrize("container", ["mp4", "matroska"])
def test_the_sound_of_a_film_is_read(container: str) -> None:
    file, sound = io.BytesIO(), make_sound(SECONDS, 48_000)
    with av.open(file, "w", format=container) as output:
        film = output.add_stream("mpeg4", rate=5)
        film.width, film.height, film.pix_fmt = 32, 32, "yuv420p"
        audio = output.add_stream("aac", rate=48_000, layout="mono")
        picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), "u1"), format="rgb24")
        frame = av.AudioFrame.from_ndarray(sound[None], "fltp", "mono")
        frame.sample_rate = 48_000
        for packet in [*film.encode(picture), *film.encode(None)]:
            output.mux(packet)
        for packet in [*audio.encode(frame), *audio.encode(None)]:
            output.mux(packet)
    assert abs(seconds_of(file.getvalue()) - SECONDS) < PADDING_S


@pytest.mark.parametrize("name", ["m4a", "mov"])
def test_what_lost_its_index_is_said_to_have(name: str) -> None:
    data = make_recording(name, SECONDS)
    with pytest.raises(AudioUnreadable, match="index"):
        decode_audio(data[: len(data) // 2])


LIBRARY_NOISE = """
import sys
from deployments.audio_decoding import decode_audio
from deployments.errors import AudioUnreadable
from tests.unit.deployments.audio_decoding.recordings import MAKERS, make_recording
from tests.unit.deployments.audio_decoding.test_damage import with_hole

for name in MAKERS:
    data = make_recording(name)
    holes = [with_hole(data, seed, 60) for seed in range(6)]
    for damaged in (data + data, data[:-40], data[30:], *holes):
        try:
            decode_audio(damaged, 16_000)
        except AudioUnreadable:
            pass
"""


def test_no_library_prints_anything_about_damage() -> None:
    done = subprocess.run([sys.executable, "-c", LIBRARY_NOISE], capture_output=True, check=True)
    assert done.stderr == b"" and done.stdout == b""
