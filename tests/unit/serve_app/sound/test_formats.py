"""Framing of PCM."""

import io
import wave

import pytest

from deployments.errors import UnsupportedRequest
from serve_app.sound.formats import FORMATS, audio_format, seconds_of, wav_file, wav_header


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
    encoder = FORMATS["wav"].encoder()
    assert (
        encoder.encode(b"ab") + encoder.encode(b"cd") + encoder.finish() == wav_header() + b"abcd"
    )


def test_two_streams_of_one_format_share_nothing() -> None:
    first, second = FORMATS["wav"].encoder(), FORMATS["wav"].encoder()
    first.encode(b"ab")
    assert second.encode(b"ab") == wav_header() + b"ab"


def test_an_unknown_format_names_the_field_and_the_known_ones() -> None:
    with pytest.raises(UnsupportedRequest, match="wav, pcm") as refused:
        audio_format("mp3", "response_format")
    assert refused.value.param == "response_format"


def test_one_audio_token_lasts_40_ms() -> None:
    assert seconds_of(2 * 960) == pytest.approx(0.04)
