"""Recordings of any format in, PCM out."""

import io

import av
import numpy as np
import pytest
import soundfile

from deployments.audio_decoding import channels_of, decode_audio, resample, to_pcm16
from deployments.errors import AudioTooLong, AudioUnreadable

RATE_HZ = 24_000


def make_tone(seconds: float = 1.0, rate_hz: int = RATE_HZ) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate_hz)) / rate_hz)).astype(
        "f4"
    )


def encode_with_soundfile(samples: np.ndarray, container: str, subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, RATE_HZ, format=container, subtype=subtype)
    return file.getvalue()


def encode_with_ffmpeg(samples: np.ndarray, container: str, codec: str) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=RATE_HZ, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate = RATE_HZ
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            output.mux(packet)
    return file.getvalue()


def pitch_of(samples: np.ndarray, rate_hz: int) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(spectrum.argmax() * rate_hz / len(samples))


@pytest.mark.parametrize(
    ("container", "subtype"),
    [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAV", "ULAW"), ("FLAC", None), ("OGG", "VORBIS"),
     ("OGG", "OPUS"), ("MP3", None), ("AIFF", None)],
)  # fmt: skip
def test_what_soundfile_writes_is_read(container: str, subtype: str | None) -> None:
    tone = make_tone()
    samples, rate_hz = decode_audio(encode_with_soundfile(tone, container, subtype))
    assert samples.dtype == np.float32 and samples.ndim == 1
    assert abs(len(samples) / rate_hz - 1.0) < 0.1  # lossy codecs pad
    assert abs(pitch_of(samples, rate_hz) - 440) < 3
    assert abs(np.abs(samples[4000:-4000]).max() - 0.5) < 0.05


@pytest.mark.parametrize(
    ("container", "codec"), [("adts", "aac"), ("matroska", "aac"), ("ipod", "aac")]
)
def test_what_only_ffmpeg_knows_is_read(container: str, codec: str) -> None:
    data = encode_with_ffmpeg(make_tone(), container, codec)
    with pytest.raises(soundfile.LibsndfileError):
        soundfile.read(io.BytesIO(data))
    samples, rate_hz = decode_audio(data)
    assert rate_hz == RATE_HZ
    assert samples.dtype == np.float32 and samples.ndim == 1
    assert abs(len(samples) / rate_hz - 1.0) < 0.1
    assert abs(pitch_of(samples, rate_hz) - 440) < 3


def test_channels_are_mixed_by_their_mean() -> None:
    left, right = make_tone(), 0.3 * np.ones(RATE_HZ, dtype=np.float32)
    stereo = np.stack((left, right), axis=1)
    samples, _ = decode_audio(encode_with_soundfile(stereo, "WAV", "FLOAT"))
    assert np.abs(samples - (left + right) / 2).max() < 1e-6


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000, 48_000])
def test_a_wanted_rate_is_given(rate_hz: int) -> None:
    samples, actual = decode_audio(encode_with_soundfile(make_tone(), "WAV"), rate_hz)
    assert actual == rate_hz
    assert len(samples) == rate_hz
    assert abs(pitch_of(samples, rate_hz) - 440) < 3


def test_resampling_to_the_same_rate_changes_nothing() -> None:
    tone = make_tone()
    assert resample(tone, RATE_HZ, RATE_HZ) is tone


@pytest.mark.parametrize(
    "data",
    [b"", b"not a recording" * 50, encode_with_soundfile(np.zeros(0, "f4"), "WAV"),
     encode_with_soundfile(make_tone(), "FLAC")[:20],
     encode_with_soundfile(np.full(100, np.nan, "f4"), "WAV", "FLOAT")],
    ids=["empty", "text", "no samples", "cut off", "not a number"],
)  # fmt: skip
def test_what_holds_no_sound_is_unreadable(data: bytes) -> None:
    with pytest.raises(AudioUnreadable):
        decode_audio(data)


def test_a_file_with_pictures_only_is_unreadable() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        stream = output.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), "u1"), format="rgb24")
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            output.mux(packet)
    with pytest.raises(AudioUnreadable, match="no audio"):
        decode_audio(file.getvalue())


def test_pcm16_clips_cuts_fractions_off_and_is_little_endian() -> None:
    samples = np.array([0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5, 1 / 32767], dtype=np.float32)
    expected = [0, 32767, -32767, 32767, -32767, 16383, -16383, 1]
    assert np.frombuffer(to_pcm16(samples), "<i2").tolist() == expected


@pytest.mark.parametrize(
    "playlist",
    [b"ffconcat version 1.0\nfile 'secret.wav'\n", b"#EXTM3U\n#EXTINF:1,\nsecret.wav\n"],
)
def test_a_playlist_of_this_machines_files_is_refused(playlist, tmp_path, monkeypatch):
    (tmp_path / "secret.wav").write_bytes(encode_with_soundfile(make_tone(), "WAV"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AudioUnreadable, match="no known format"):
        decode_audio(playlist)


def test_a_recording_longer_than_allowed_is_refused_before_it_is_decoded():
    data = encode_with_soundfile(make_tone(), "WAV")
    samples, rate_hz = decode_audio(data)
    seconds = len(samples) / rate_hz
    decode_audio(data, max_s=seconds)
    with pytest.raises(AudioTooLong):
        decode_audio(data, max_s=seconds - 0.01)


@pytest.mark.parametrize("container", ["WAV", "FLAC", "OGG", "MP3"])
@pytest.mark.parametrize("channels", [1, 2])
def test_the_channels_of_a_recording_are_counted(container: str, channels: int) -> None:
    samples = np.stack([make_tone()] * channels, axis=1)
    assert channels_of(encode_with_soundfile(samples, container)) == channels


def test_what_is_no_recording_has_no_channels() -> None:
    with pytest.raises(AudioUnreadable):
        channels_of(b"no recording")
