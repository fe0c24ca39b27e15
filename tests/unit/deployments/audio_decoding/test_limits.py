"""Decoding stops at the limit, holds no more than that, and opens no other file."""

import struct
import threading
import time
import tracemalloc

import numpy as np
import pytest

from deployments.audio_decoding import decode_audio
from deployments.errors import AudioTooLong, AudioUnreadable
from tests.unit.deployments.audio_decoding.recordings import (
    MAKERS,
    make_recording,
    make_sound,
    write_ffmpeg,
    write_soundfile,
)

HOUR_S = 3600


def long_adts() -> bytes:
    return make_recording("adts", 1.0) * HOUR_S


def long_mp3() -> bytes:
    return make_recording("mp3 without a header", 1.0) * HOUR_S


def long_ogg() -> bytes:
    return make_recording("OGG OPUS", 10.0) * (HOUR_S // 10)


def long_flac() -> bytes:
    """Silence of six channels: a minute has 69 MB as float32, and a few KB as FLAC."""
    return write_ffmpeg(np.zeros((6, 60 * 48_000), np.float32), 48_000, "flac", "flac")


def fast_wav() -> bytes:
    return write_soundfile(np.zeros(60 * 384_000, np.float32), 384_000, "WAV", "PCM_U8")


@pytest.mark.parametrize("make", [long_adts, long_mp3, long_ogg, long_flac, fast_wav])
def test_decoding_stops_and_holds_no_more_than_the_limit(make) -> None:
    data = make()
    tracemalloc.start()
    begin = time.thread_time()
    with pytest.raises(AudioTooLong):
        decode_audio(data, 16_000, max_s=20.0)
    assert time.thread_time() - begin < 3.0  # whole, an hour takes half a minute
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most_bytes < 3 * len(data) + 20e6


@pytest.mark.parametrize("name", MAKERS)
def test_a_limit_that_is_met_is_no_refusal(name: str) -> None:
    data = make_recording(name)
    samples, rate_hz = decode_audio(data)
    decode_audio(data, max_s=len(samples) / rate_hz)
    with pytest.raises(AudioTooLong):
        decode_audio(data, max_s=len(samples) / rate_hz - 0.001)


def test_the_refusal_tells_the_length_that_the_header_promises() -> None:
    with pytest.raises(AudioTooLong, match=r"lasts 60\.0 s, the limit is 5 s"):
        decode_audio(write_soundfile(np.zeros(60 * 8_000, np.float32), 8_000, "WAV"), max_s=5)
    with pytest.raises(AudioTooLong, match=r"s or more, the limit is 5 s"):
        decode_audio(make_recording("adts", 10.0), max_s=5)


def test_joined_recordings_share_the_limit() -> None:
    data = make_recording("WAV PCM_16", 2.0)
    decode_audio(data * 3, 16_000, max_s=6.0)
    with pytest.raises(AudioTooLong):
        decode_audio(data * 3, 16_000, max_s=5.9)


def test_more_parts_than_anyone_joins_are_refused_at_once() -> None:
    with pytest.raises(AudioUnreadable, match="more than 1000 recordings"):
        decode_audio(make_recording("WAV PCM_U8", 0.01) * 1001)


def grown(data: bytes, path: tuple[bytes, ...], body: bytes) -> bytes:
    """`data` with another body in the box at `path`, whose parents grow with it."""
    at = data.index(path[-1]) - 4
    (size,) = struct.unpack_from(">I", data, at)
    box = struct.pack(">I", 8 + len(body)) + path[-1] + body
    grown = bytearray(data[:at] + box + data[at + size :])
    for parent in path[:-1]:
        offset = grown.index(parent) - 4
        (parent_size,) = struct.unpack_from(">I", grown, offset)
        struct.pack_into(">I", grown, offset, parent_size + len(box) - size)
    return bytes(grown)


def endless_run() -> bytes:
    data = bytearray(make_recording("mp4 in fragments"))
    struct.pack_into(">II", data, data.index(b"trun") + 4, 1, 60_000_000)
    return bytes(data)


def endless_sizes() -> bytes:
    data = bytearray(make_recording("m4a"))
    struct.pack_into(">II", data, data.index(b"stsz") + 8, 1, 80_000_000)
    struct.pack_into(">I", data, data.index(b"stsc") + 16, 80_000_000)
    struct.pack_into(">I", data, data.index(b"stts") + 12, 80_000_000)
    return bytes(data)


def endless_edits() -> bytes:
    edit = struct.pack(">IiI", 60_000, 0, 0x10000)
    body = struct.pack(">II", 0, 100_000) + edit * 100_000
    return grown(make_recording("m4a", 3.0), (b"moov", b"trak", b"edts", b"elst"), body)


@pytest.mark.parametrize("make", [endless_run, endless_sizes, endless_edits])
def test_an_index_larger_than_any_recording_is_refused_before_it_is_made(make) -> None:
    with pytest.raises(AudioUnreadable, match="index names more samples"):
        decode_audio(make())


def test_a_long_film_sound_has_no_such_index() -> None:
    sound = np.tile(make_sound(1.0, 48_000), 100)
    samples, _ = decode_audio(write_ffmpeg(sound, 48_000, "mov", "pcm_u8"), 16_000)
    assert len(samples) == 1_600_000


SDP = b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n"


@pytest.mark.parametrize(
    "playlist",
    [
        b"ffconcat version 1.0\nfile 'secret.wav'\n",
        b"#EXTM3U\n#EXTINF:1,\nsecret.wav\n#EXT-X-ENDLIST\n",
        b"<?xml version='1.0'?><MPD><BaseURL>secret.wav</BaseURL></MPD>",
        b"[playlist]\nFile1=secret.wav\n",
        SDP,
        b"rtsp://127.0.0.1/secret.wav",
        b"ID3\x03\x00\x00\x00\x00\x00\x00#EXTM3U\n#EXTINF:1,\nsecret.wav\n",
        b"\xff\xfb\x90\x00#EXTM3U\n#EXTINF:1,\nsecret.wav\n",
    ],
)
def test_what_names_other_files_opens_none(playlist: bytes, tmp_path, monkeypatch) -> None:
    secret = write_soundfile(make_sound(1.0, 16_000), 16_000, "WAV")
    (tmp_path / "secret.wav").write_bytes(secret)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AudioUnreadable):
        decode_audio(playlist)


def test_a_movie_that_refers_to_another_file_opens_none(tmp_path, monkeypatch) -> None:
    movie = make_recording("mov")
    (tmp_path / "secret.mov").write_bytes(movie)
    monkeypatch.chdir(tmp_path)
    name = str(tmp_path / "secret.mov").encode()
    alias = b"alis" + bytes(3) + b"\x00" + bytes(150) + struct.pack(">hh", 18, len(name)) + name
    body = struct.pack(">II", 0, 1) + struct.pack(">I", 4 + len(alias) + len(alias) % 2) + alias
    path = (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref")
    without_sound = bytearray(grown(movie, path, body))
    begin = movie.index(b"mdat") + 4
    without_sound[begin : begin + 48_000] = bytes(48_000)
    try:
        samples, _ = decode_audio(bytes(without_sound))
    except AudioUnreadable:
        return
    assert not samples.any()


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """`data` with bytes replaced, cut, removed, repeated or added."""
    kind, (begin, end) = rng.integers(6), sorted(rng.integers(0, len(data), 2))
    if kind == 0:
        return data[:end]
    if kind == 1:
        return data[:begin] + data[end:]
    if kind == 2:
        return data[:end] + data[begin:]
    if kind == 3:
        return data + rng.bytes(int(rng.integers(1, 2_000)))
    changed = bytearray(data)
    reach = len(data) if kind == 4 else min(len(data), 300)
    for at in rng.integers(0, reach, int(rng.integers(1, 12))):
        changed[at] = int(rng.choice([0, 1, 0x7F, 0xFF, rng.integers(256)]))
    return bytes(changed)


def outcome(data: bytes) -> None:
    try:
        samples, rate_hz = decode_audio(data, 16_000, max_s=10.0)
    except (AudioUnreadable, AudioTooLong):
        return
    assert rate_hz == 16_000 and 0 < len(samples) <= 10.0 * rate_hz + 1
    assert np.isfinite(samples).all() and np.abs(samples).max() < 32
    assert not ((samples != 0) & (np.abs(samples) < 1e-15)).any()


@pytest.mark.parametrize("name", MAKERS)
def test_whatever_is_sent_is_read_or_refused(name: str) -> None:
    data = make_recording(name, 0.3)
    for seed in range(25):
        outcome(mutated(data, np.random.default_rng([seed, len(data)])))


def test_decoding_in_many_threads_mixes_nothing() -> None:
    names = ["FLAC PCM_16", "mp3", "webm", "m4a", "WAV PCM_16", "ogg opus"]
    expected = {name: decode_audio(make_recording(name), 16_000)[0] for name in names}
    wrong: list[str] = []

    def work(name: str) -> None:
        for _ in range(5):
            if not np.array_equal(decode_audio(make_recording(name), 16_000)[0], expected[name]):
                wrong.append(name)

    threads = [threading.Thread(target=work, args=(name,)) for name in names * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
