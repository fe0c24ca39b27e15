"""Framing of PCM."""

import io
import wave

import pytest

from serve_app.sound.encoding.pcm import seconds_of
from serve_app.sound.encoding.wav import WavEncoder, wav_file, wav_header


def test_a_whole_wav_reads_back_as_its_samples() -> None:
    pcm = bytes(range(200)) * 2
    with wave.open(io.BytesIO(wav_file(pcm))) as read:
        assert (read.getnchannels(), read.getsampwidth(), read.getframerate()) == (1, 2, 24_000)
        assert read.readframes(read.getnframes()) == pcm


def test_a_streamed_header_says_unknown_in_both_sizes() -> None:
    header = wav_header()
    assert len(header) == 44
    assert header[4:8] == header[40:44] == b"\xff\xff\xff\xff"
    assert header[8:40] == wav_header(1000)[8:40]


def test_the_header_comes_once_with_the_first_samples() -> None:
    encoder = WavEncoder()
    assert (
        encoder.encode(b"ab") + encoder.encode(b"cd") + encoder.finish() == wav_header() + b"abcd"
    )


def test_one_audio_token_lasts_40_ms() -> None:
    assert seconds_of(2 * 960) == pytest.approx(0.04)
