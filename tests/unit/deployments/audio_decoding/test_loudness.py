"""What reaches an engine is finite, of sane loudness, and free of denormals."""

import io

import numpy as np
import pytest
import soundfile

from deployments.audio_decoding import decode_audio
from deployments.audio_decoding.mono import LOUDEST
from deployments.errors import AudioUnreadable
from tests.unit.deployments.audio_decoding.recordings import (
    make_sound,
    write_ffmpeg,
    write_soundfile,
)

RATE_HZ = 24_000
FLOAT_FILES = {
    "WAV": lambda samples: write_soundfile(samples, RATE_HZ, "WAV", "FLOAT"),
    "WAV double": lambda samples: write_soundfile(samples, RATE_HZ, "WAV", "DOUBLE"),
    "WAV extensible": lambda samples: write_soundfile(samples, RATE_HZ, "WAVEX", "FLOAT"),
    "AIFF": lambda samples: write_soundfile(samples, RATE_HZ, "AIFF", "FLOAT"),
    "AU": lambda samples: write_soundfile(samples, RATE_HZ, "AU", "FLOAT"),
    "CAF": lambda samples: write_soundfile(samples, RATE_HZ, "CAF", "FLOAT"),
    "W64": lambda samples: write_soundfile(samples, RATE_HZ, "W64", "DOUBLE"),
    "RF64": lambda samples: write_soundfile(samples, RATE_HZ, "RF64", "FLOAT"),
    "IRCAM": lambda samples: write_soundfile(samples, RATE_HZ, "IRCAM", "FLOAT"),
    "MOV": lambda samples: write_ffmpeg(samples.T, RATE_HZ, "mov", "pcm_f32le"),
    "MOV double": lambda samples: write_ffmpeg(samples.T, RATE_HZ, "mov", "pcm_f64be"),
    "MKA": lambda samples: write_ffmpeg(samples.T, RATE_HZ, "matroska", "pcm_f32le"),
    "MKA double": lambda samples: write_ffmpeg(samples.T, RATE_HZ, "matroska", "pcm_f64le"),
}


def with_one(value: float) -> np.ndarray:
    sound = make_sound(1.0, RATE_HZ)
    sound[12_345] = value
    return sound


@pytest.mark.parametrize("kind", FLOAT_FILES)
@pytest.mark.parametrize("rate_hz", [None, 16_000])
@pytest.mark.parametrize("value", [17.0, 100.0, -100.0, 1e20, 3e38, np.inf, -np.inf, np.nan])
def test_a_sample_that_is_no_sound_is_refused(kind: str, rate_hz: int | None, value: float) -> None:
    with pytest.raises(AudioUnreadable, match=r"full scale is 1|not numbers") as refused:
        decode_audio(FLOAT_FILES[kind](with_one(value)), rate_hz)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("kind", FLOAT_FILES)
@pytest.mark.parametrize("peak", [1.0, 1.5, 4.0, LOUDEST])
def test_a_float_file_beyond_full_scale_is_a_recording(kind: str, peak: float) -> None:
    samples, _ = decode_audio(FLOAT_FILES[kind](with_one(peak)))
    assert samples[12_345] == peak and len(samples) == RATE_HZ


@pytest.mark.parametrize("kind", FLOAT_FILES)
@pytest.mark.parametrize("value", [3e38, np.inf, 50.0])
def test_channels_cannot_hide_what_is_too_loud(kind: str, value: float) -> None:
    channels = np.stack((with_one(value), with_one(-value)), axis=1)
    with pytest.raises(AudioUnreadable, match="full scale is 1"):
        decode_audio(FLOAT_FILES[kind](channels), 16_000)


@pytest.mark.parametrize("value", [1e39, 1e300, -1e300])
def test_a_double_that_no_float_holds_is_refused_without_a_warning(
    value: float, recwarn: pytest.WarningsRecorder
) -> None:
    file = io.BytesIO()
    samples = np.zeros((RATE_HZ, 1))
    samples[7] = value
    soundfile.write(file, samples, RATE_HZ, format="WAV", subtype="DOUBLE")
    with pytest.raises(AudioUnreadable, match="full scale is 1"):
        decode_audio(file.getvalue())
    assert not recwarn.list


@pytest.mark.parametrize("scale", [50.0, 1e4])
def test_a_coded_recording_that_is_too_loud_throughout_is_refused(scale: float) -> None:
    loud = write_soundfile(make_sound(1.0, RATE_HZ) * np.float32(scale), RATE_HZ, "OGG", "VORBIS")
    with pytest.raises(AudioUnreadable, match="full scale is 1"):
        decode_audio(loud)


@pytest.mark.parametrize("rate_hz", [None, 16_000])
@pytest.mark.parametrize("value", [1e-45, 1e-40, 1e-30])
def test_denormals_become_silence(value: float, rate_hz: int | None) -> None:
    sound = np.full(RATE_HZ, value, dtype=np.float32)
    sound[:100] = 0.5
    samples, _ = decode_audio(write_soundfile(sound, RATE_HZ, "WAV", "FLOAT"), rate_hz)
    heard = np.abs(samples[samples != 0])
    assert len(heard) < 500 and heard.min() >= 1e-15


def test_a_sample_rate_that_cannot_be_meant_is_refused() -> None:
    for rate_hz in (1, 999, 1_000_000, 2_000_000_000):
        wav = bytearray(write_soundfile(make_sound(1.0, RATE_HZ), RATE_HZ, "WAV"))
        wav[24:28] = rate_hz.to_bytes(4, "little")
        with pytest.raises(AudioUnreadable, match=f"{rate_hz} Hz"):
            decode_audio(bytes(wav), 16_000)
