"""Every container that phones, browsers, recorders and streaming services write."""

import numpy as np
import pytest

from deployments.audio_decoding import decode_audio
from tests.unit.deployments.audio_decoding.recordings import (
    MAKERS,
    TONE_HZ,
    make_recording,
    make_sound,
    write_ffmpeg,
    write_soundfile,
)

RATE_HZ = 16_000
SECONDS = 3.0
PADDING_S = 0.12  # what codecs put before and after
# MP4 writes its index last: without it nobody knows where a sample begins.
INDEX_LAST = {"m4a", "mp4 opus", "m4a alac", "mov", "mov float", "3gp", "3gp amr"}


def seconds_of(data: bytes) -> float:
    samples, rate_hz = decode_audio(data, RATE_HZ)
    assert rate_hz == RATE_HZ
    assert samples.dtype == np.float32 and samples.ndim == 1
    return len(samples) / rate_hz


def tone_share(samples: np.ndarray) -> float:
    """How much of the energy is the tone that was recorded."""
    power = np.abs(np.fft.rfft(samples * np.hanning(len(samples)))) ** 2
    at = round(TONE_HZ * len(samples) / RATE_HZ)
    return float(power[at - 20 : at + 20].sum() / power.sum())


@pytest.mark.parametrize("name", MAKERS)
def test_a_whole_recording_is_read_whole(name: str) -> None:
    samples, _ = decode_audio(make_recording(name, SECONDS), RATE_HZ)
    assert abs(len(samples) / RATE_HZ - SECONDS) < PADDING_S
    assert tone_share(samples) > 0.9
    assert abs(np.abs(samples).max() - 0.43) < 0.1


@pytest.mark.parametrize("name", MAKERS)
def test_recordings_that_were_joined_are_all_read(name: str) -> None:
    one, other = make_recording(name, SECONDS), make_recording(name, 1.5)
    assert abs(seconds_of(one + other + one) - 2 * SECONDS - 1.5) < 3 * PADDING_S


@pytest.mark.parametrize("name", [name for name in MAKERS if name not in INDEX_LAST])
def test_a_recording_that_was_cut_is_read_up_to_there(name: str) -> None:
    data = make_recording(name, SECONDS)
    assert seconds_of(data[:-40]) > SECONDS - 2 * PADDING_S
    assert abs(seconds_of(data[: len(data) * 7 // 10]) - 0.7 * SECONDS) < 0.25


def test_joined_recordings_may_differ_in_rate_and_channels() -> None:
    narrow = write_soundfile(make_sound(1.0, 8_000), 8_000, "WAV")
    wide = write_soundfile(np.stack([make_sound(1.0, 48_000)] * 2, axis=1), 48_000, "WAV")
    samples, rate_hz = decode_audio(narrow + wide)
    assert rate_hz == 8_000 and len(samples) == 16_000
    samples, _ = decode_audio(wide + narrow, RATE_HZ)
    assert len(samples) == 2 * RATE_HZ
    assert tone_share(samples) > 0.9


@pytest.mark.parametrize("channels", [2, 6, 8])
@pytest.mark.parametrize(
    ("container", "codec"),
    [("wav", "pcm_s16le"), ("flac", "flac"), ("ipod", "aac"), ("webm", "libopus"),
     ("matroska", "pcm_f64le")],
)  # fmt: skip
def test_many_channels_are_mixed(container: str, codec: str, channels: int) -> None:
    sound = np.stack([make_sound(1.0, 48_000)] * channels)
    samples, _ = decode_audio(write_ffmpeg(sound, 48_000, container, codec), RATE_HZ)
    assert abs(len(samples) / RATE_HZ - 1.0) < PADDING_S
    assert tone_share(samples) > 0.9


@pytest.mark.parametrize("channels", [8, 9, 13, 64])
def test_more_channels_than_any_layout_has_are_mixed(channels: int) -> None:
    sound = np.stack([make_sound(1.0, 48_000)] * channels, axis=1)
    for container, subtype in (("OGG", "VORBIS"), ("WAV", "PCM_16"), ("CAF", "FLOAT")):
        samples, _ = decode_audio(write_soundfile(sound, 48_000, container, subtype), RATE_HZ)
        assert len(samples) == RATE_HZ
        assert tone_share(samples) > 0.9
