"""Compressed sound, streamed and whole, as FFmpeg's and libsndfile's decoders read it."""

import gc
import io
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from serve_app.sound.encoding.format_table import FORMATS
from tests.sounds import LEAD, assert_steady, assert_streamed_length, decoded, tone

COMPRESSED = [name for name, form in FORMATS.items() if form.compressed]
CHUNK_TOKENS = 5  # 200 ms, Token2Wav's first chunk
FFMPEG_OBJECTS = (av.container.OutputContainer, av.AudioStream, av.AudioCodecContext)
TOKENS = 76  # 3.04 s, and a last chunk that is short


def chunks(tokens: int, tokens_each: int = CHUNK_TOKENS) -> Iterator[bytes]:
    pcm = tone(960 * tokens)
    size = 1920 * tokens_each
    return (pcm[i : i + size] for i in range(0, len(pcm), size))


def streamed(name: str, pieces: Iterator[bytes]) -> list[bytes]:
    encoder = FORMATS[name].encoder()
    sent = [*map(encoder.encode, pieces), encoder.finish()]
    encoder.close()
    return sent


@pytest.mark.parametrize("tokens", [1, 5, 6, TOKENS])
@pytest.mark.parametrize("name", COMPRESSED)
def test_a_stream_has_all_samples_and_no_more_than_its_format_explains(
    name: str, tokens: int
) -> None:
    sound = decoded(b"".join(streamed(name, chunks(tokens))))
    assert_streamed_length(len(sound), tokens, name)


@pytest.mark.parametrize("tokens_each", [1, 3, CHUNK_TOKENS, 13])
@pytest.mark.parametrize("name", COMPRESSED)
def test_a_streamed_tone_has_no_gap_and_no_click_where_chunks_meet(
    name: str, tokens_each: int
) -> None:
    sound = decoded(b"".join(streamed(name, chunks(TOKENS, tokens_each))))
    assert_steady(sound, 960 * TOKENS, LEAD[name])


@pytest.mark.parametrize("name", COMPRESSED)
def test_the_last_50_ms_are_silence_that_a_decoder_may_drop(name: str) -> None:
    sound = decoded(b"".join(streamed(name, chunks(TOKENS))))
    spoken = LEAD[name] + 960 * TOKENS
    assert len(sound) - spoken >= 1152  # the longest frame
    assert np.abs(sound[spoken + 240 :]).max() < 0.01  # 10 ms later: a lossy codec rings a little


# A frame leaves when the next one is full; of MP3 a decoder wants to see two.
@pytest.mark.parametrize(("name", "ms"), [("mp3", 80), ("opus", 45), ("aac", 90), ("flac", 100)])
def test_the_first_sound_leaves_as_soon_as_a_frame_is_full(name: str, ms: int) -> None:
    encoder = FORMATS[name].encoder()
    sent, fed_ms = b"", 0
    while not _sounds(sent):
        sent += encoder.encode(tone(120))
        fed_ms += 5
    encoder.close()
    assert fed_ms <= ms


def _sounds(sent: bytes) -> bool:
    try:
        return len(decoded(sent)) > 0
    except (av.FFmpegError, ValueError, IndexError):
        return False


# What is held back of 1 s: never more than the frame that fills, and the one before it. AAC and MP3
# hold back what their windows overlap.
@pytest.mark.parametrize(("name", "ms"), [("mp3", 90), ("opus", 30), ("aac", 105), ("flac", 50)])
def test_little_is_held_back_while_a_stream_runs(name: str, ms: int) -> None:
    encoder = FORMATS[name].encoder()
    sent = b"".join(map(encoder.encode, chunks(25)))
    encoder.close()
    assert 24_000 - (len(decoded(sent)) - LEAD[name]) <= 24 * ms


def test_every_frame_of_mp3_can_be_decoded_as_soon_as_it_has_arrived() -> None:
    for end in range(1, 11):
        sent = b"".join(streamed("mp3", chunks(50))[:end])
        assert len(decoded(sent)) == 576 * (len(sent) // 288)  # 96 kbit/s: 288 bytes a frame


def test_no_stream_begins_with_padding_or_tags() -> None:
    assert all(len(streamed(name, chunks(5))[0]) < 5000 for name in COMPRESSED)
    assert streamed("mp3", chunks(5))[0][:2] == b"\xff\xf3"  # a frame of MPEG-2 Layer III


@pytest.mark.parametrize("name", ["mp3", "opus", "flac"])
def test_a_whole_file_says_its_length_and_has_exactly_that(name: str) -> None:
    file = FORMATS[name].file(tone(960 * TOKENS))
    assert len(decoded(file)) == 960 * TOKENS
    with soundfile.SoundFile(io.BytesIO(file)) as read:
        assert read.frames * 24_000 / read.samplerate == 960 * TOKENS
        assert len(read.read()) == read.frames
    assert_steady(decoded(file), 960 * TOKENS, lead=0)


def test_a_whole_flac_has_the_total_in_its_streaminfo_and_loses_nothing() -> None:
    pcm = tone(960 * TOKENS)
    file = FORMATS["flac"].file(pcm)
    assert file[:4] == b"fLaC"
    total = int.from_bytes(file[18:26], "big") & (2**36 - 1)  # the low bits of STREAMINFO's rates
    assert total == 960 * TOKENS
    samples, rate = soundfile.read(io.BytesIO(file), dtype="int16")
    assert (samples.astype("<i2").tobytes(), rate) == (pcm, 24_000)


def test_a_whole_aac_is_adts_which_has_no_place_for_a_length() -> None:
    file = FORMATS["aac"].file(tone(960 * TOKENS))
    assert file[0] == 0xFF and file[1] & 0xF6 == 0xF0
    assert_steady(decoded(file), 960 * TOKENS, LEAD["aac"])


def test_a_streamed_flac_loses_nothing() -> None:
    pcm = tone(960 * TOKENS)
    sound = decoded(b"".join(streamed("flac", chunks(TOKENS))))
    assert np.array_equal(np.round(32768 * sound[: 960 * TOKENS]), np.frombuffer(pcm, "<i2"))


@pytest.mark.parametrize("name", COMPRESSED)
def test_a_closed_encoder_is_freed_without_waiting_for_the_collector(name: str) -> None:
    gc.collect()
    gc.disable()
    try:
        encoder = FORMATS[name].encoder()
        encoder.encode(bytes(9600))
        encoder.close()
        del encoder
        left = [o for o in gc.get_objects() if isinstance(o, FFMPEG_OBJECTS)]
    finally:
        gc.enable()
    assert left == []


@pytest.mark.parametrize("name", COMPRESSED)
def test_the_codec_is_open_before_the_first_sound(name: str) -> None:
    """So that opening it takes no time of the first chunk's."""
    encoder = FORMATS[name].encoder()
    assert encoder._writer._stream.codec_context.is_open
    encoder.close()


def test_open_encoders_start_no_threads() -> None:
    def threads() -> int:
        return len(list(Path("/proc/self/task").iterdir()))

    before = threads()
    encoders = [FORMATS[name].encoder() for name in COMPRESSED]
    for encoder in encoders:
        encoder.encode(bytes(9600))
    assert threads() == before
    for encoder in encoders:
        encoder.close()
