"""The one table of the formats that an answer's sound can have.

A format joins by an encoder and a line in `FORMATS`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from serve_app.sound.encoding.pcm import PcmEncoder, pcm_file
from serve_app.sound.encoding.pyav_encoders import Codec, CodecEncoder, encode_file
from serve_app.sound.encoding.wav import WavEncoder, wav_file


class AudioEncoder(Protocol):
    """Encodes one answer that is streamed; holds its state."""

    def encode(self, pcm: bytes) -> bytes:
        """Take s16le mono 24 kHz in, give what can be sent so far, perhaps nothing."""

    def finish(self) -> bytes:
        """All that was held back; called once, after the last PCM."""

    def close(self) -> None:
        """Free what the encoder holds, finished or not. May be called twice."""


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """A format by the name that requests give it."""

    name: str
    media_type: str
    encoder: Callable[[], AudioEncoder]  # of a streamed answer
    file: Callable[[bytes], bytes]  # a whole answer, from s16le mono 24 kHz
    compressed: bool = False  # encoding takes time: it belongs into a thread


# Where a faster setting of an encoder sounds no worse, it is taken. Measured with 6 s of speech:
# milliseconds of CPU time for a second of sound, signal to noise in dB.
#   MP3, `compression_level` 5 (LAME's) and 7: 11.3 and 8.0, 25.6 and 25.8
#   Opus of 48 kbit/s, `compression_level` 10 (libopus') and 5: 14.6 and 6.4, 18.8 and 21.1
#   AAC, `aac_coder` twoloop (FFmpeg's) and fast: 11.8 and 5.5, 25.5 and 32.8

# Without its bit reservoir, every frame of MP3 can be decoded as soon as it arrives. The tags in
# front of a stream would hold lengths that nobody knows yet.
MP3 = Codec(
    "mp3",
    "libmp3lame",
    options={"b": "96000", "reservoir": "0", "compression_level": "7"},
    stream_options={"write_xing": "0", "id3v2_version": "0"},
)
# A page of Ogg is sent when it is full: by default after a second, here after each frame of 20 ms.
# Of 48 kbit/s a steady tone came out 5 % softer in places, on some processors; of these 3 %.
OPUS = Codec(
    "ogg",
    "libopus",
    options={"b": "64000", "compression_level": "5"},
    stream_options={"page_duration": "20000"},  # microseconds
)
AAC = Codec("adts", "aac", options={"b": "64000", "aac_coder": "fast"})
# Frames of 48 ms; FFmpeg's own last 96 ms. Its padding would be 8 KiB in front of the first sound.
FLAC = Codec(
    "flac",
    "flac",
    options={"frame_size": "1152"},
    stream_options={"metadata_header_padding": "0"},
)


def _compressed(name: str, media_type: str, codec: Codec) -> AudioFormat:
    encoder, file = partial(CodecEncoder, codec), partial(encode_file, codec)
    return AudioFormat(name, media_type, encoder, file, compressed=True)


FORMATS = {
    form.name: form
    for form in (
        _compressed("mp3", "audio/mpeg", MP3),
        _compressed("opus", "audio/ogg", OPUS),
        _compressed("aac", "audio/aac", AAC),
        _compressed("flac", "audio/flac", FLAC),
        AudioFormat("wav", "audio/wav", WavEncoder, wav_file),
        AudioFormat("pcm", "audio/pcm", PcmEncoder, pcm_file),  # by its name in speech
        AudioFormat("pcm16", "audio/pcm", PcmEncoder, pcm_file),  # and by its name in chats
    )
}
MEDIA_TYPES = tuple(dict.fromkeys(form.media_type for form in FORMATS.values()))
