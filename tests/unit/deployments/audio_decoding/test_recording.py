"""Long recordings are decoded block by block."""

import time
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from deployments.audio_decoding import Recording, decode_audio
from deployments.errors import AudioTooLong, AudioUnreadable
from tests.nano.with_pauses import as_file
from tests.unit.deployments.audio_decoding.recordings import MAKERS, make_recording

LONG_S = 300


def noise(seconds: float, format: str) -> bytes:
    samples = 0.1 * np.random.default_rng(0).standard_normal(round(seconds * 16_000), np.float32)
    return as_file(samples, format)


@pytest.mark.parametrize("name", list(MAKERS)[::4])
def test_blocks_are_the_whole_recording(name: str) -> None:
    data = make_recording(name, 2.0)
    recording = Recording(data, 16_000)
    samples = np.concatenate(list(recording.blocks()))
    assert np.array_equal(samples, decode_audio(data, 16_000)[0])
    assert recording.seconds == pytest.approx(len(samples) / 16_000, abs=0.01)


def long_mp3() -> bytes:
    return make_recording("mp3 without a header", 1.0) * LONG_S


def long_wav() -> bytes:
    return noise(LONG_S, "WAV")


@pytest.mark.parametrize("make", [long_mp3, long_wav])
def test_a_long_recording_is_decoded_without_being_held(make: Callable[[], bytes]) -> None:
    data = make()
    tracemalloc.start()
    length = sum(len(block) for block in Recording(data, 16_000).blocks())
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert length >= LONG_S * 16_000  # 19 MB decoded
    assert most_bytes < 1.2 * len(data) + 5e6


@pytest.mark.parametrize(
    "name", ["WAV PCM_16", "FLAC PCM_16", "OGG OPUS", "adts", "mp3 without a header", "m4a"]
)
def test_a_recording_over_the_limit_is_refused_by_its_packets(name: str) -> None:
    data = make_recording(name, 20.0)
    with pytest.raises(AudioTooLong, match=r"lasts (19|20)\.\d s, the limit is 10 s"):
        Recording(data, 16_000, max_s=10.0).require_length()
    Recording(data, 16_000, max_s=20.0).require_length()


def test_packets_are_counted_in_a_fraction_of_the_time_of_decoding() -> None:
    recording = Recording(long_mp3(), 16_000, max_s=2 * LONG_S)
    begin = time.thread_time()
    recording.require_length()
    counted = time.thread_time()
    for _ in recording.blocks():
        pass
    assert counted - begin < (time.thread_time() - counted) / 3


def test_a_limit_that_no_packet_tells_is_kept_by_the_blocks() -> None:
    recording = Recording(make_recording("WAV PCM_16", 3.0), 16_000, max_s=2.0)
    with pytest.raises(AudioTooLong):
        list(recording.blocks())


def test_joined_recordings_are_measured_together() -> None:
    data = make_recording("WAV PCM_16", 2.0)
    with pytest.raises(AudioTooLong, match=r"lasts 6\.0 s, the limit is 5 s"):
        Recording(data * 3, 16_000, max_s=5.0).require_length()


def test_what_is_no_recording_is_refused() -> None:
    with pytest.raises(AudioUnreadable, match="empty"):
        Recording(b"")
    with pytest.raises(AudioUnreadable, match="no known format"):
        list(Recording(b"not a recording").blocks())


def test_a_header_without_a_length_costs_one_copy_of_the_file() -> None:
    data = bytearray(noise(LONG_S, "WAV"))
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"
    whole = bytes(data)
    tracemalloc.start()
    Recording(whole)
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most_bytes < 1.1 * len(whole)
