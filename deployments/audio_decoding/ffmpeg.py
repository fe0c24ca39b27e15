"""FFmpeg's decoders, through PyAV: the ones that are asked first."""

import io
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import av
import numpy as np
from av.audio.stream import AudioStream
from av.codec.context import Flags2
from av.container import InputContainer

from deployments.audio_decoding.block import Block, Notes, Undecodable
from deployments.audio_decoding.containers import Part
from deployments.audio_decoding.mono import LOUDEST, peak_of

PYAV = int(av.__version__.split(".")[0])
BLOCK_VALUES = 1 << 16  # of all channels
# PyAV (up to 18.1) takes eight planes for more and reads past the last: the process dies.
MAX_PLANES = 7
# A demuxer that finds nothing this many times running will find nothing more.
MAX_FAILURES = 32
# Tags may be in any encoding. PyAV before 19 reads them strictly unless this argument says
# otherwise; PyAV 19 has no such argument.
TAGS: dict[str, Any] = {"metadata_errors": "ignore"} if PYAV < 19 else {}
# Among raw samples FFmpeg looks for other formats, 2500 packets long: it takes 10 to 60 ms, and
# what samples look like is not for it to guess. It opens no other files.
OPTIONS = {"max_probe_packets": "1", "protocol_whitelist": "none"}
OPTIONS |= {
    "max_size": "16384"
}  # bytes of a packet of WAV, the fastest; others have no such option
# Containers whose header says how long the sound is, and what it may differ by; s. Some count
# samples, others what codecs pad, too. Of those that are not here FFmpeg estimates it.
TOLERANCES_S = dict.fromkeys(("wav", "w64", "aiff", "au", "caf", "flac"), 0.01)
TOLERANCES_S |= dict.fromkeys(("mov", "matroska", "ogg", "asf", "flv", "avi"), 0.2)
# Damage makes a few moments absurdly loud. It did in 3 of 100 files with 20 changed bytes.
BURST_SAMPLES = 1024  # the length of a moment
FEW_BURSTS = 8
MOMENTS_PER_BURST = 20
_MICROSECOND = 1e-6
PACKETS_TOLERANCE_S = 0.5  # between what packets say of a file's length and what they decode to


def blocks(part: Part, notes: Notes) -> Iterator[Block]:
    """Decode a file of a known format; damaged packets are skipped and counted in `notes`.

    Raises:
        Undecodable: there is no sound to be found.
    """
    with _opened(part) as (container, stream):
        if stream.codec_context is None:
            raise Undecodable("its codec is not known")
        if part.format in TOLERANCES_S and container.duration:
            notes.promised_s = container.duration * _MICROSECOND
            notes.tolerance_s = TOLERANCES_S[part.format]
        yield from _blocks(container, stream, notes)


def seconds_of_packets(part: Part) -> float:
    """How long a file's packets say that they last; 0 where they do not, or cannot be read."""
    try:
        with _opened(part) as (container, stream):
            packets = _packets(container, stream, Notes())
            ticks = sum(packet.duration or 0 for packet in packets if packet is not None)
            return float(ticks * (stream.time_base or 0))
    except Undecodable:
        return 0.0


@contextmanager
def _opened(part: Part) -> Iterator[tuple[InputContainer, AudioStream]]:
    """A file and its sound; what FFmpeg raises meanwhile becomes Undecodable."""
    if part.format is None:
        raise Undecodable("no known format, or the file is damaged")
    file = io.BytesIO(part.data)
    try:
        with av.open(file, "r", format=part.format, options=OPTIONS, **TAGS) as container:
            stream = container.streams.best("audio")
            if not isinstance(stream, AudioStream):
                raise Undecodable("the file holds no audio")
            yield container, stream
    except (av.FFmpegError, ValueError, MemoryError) as error:
        raise Undecodable("no known format, or the file is damaged") from error


def _blocks(container: InputContainer, stream: AudioStream, notes: Notes) -> Iterator[Block]:
    # What stands in a file as numbers is as loud as it says.
    is_coded = not stream.codec_context.name.startswith("pcm_")
    for frame in _merged(_frames(container, stream, notes)):
        samples = _samples(frame)
        if is_coded:
            samples = _without_bursts(samples, notes)
        yield Block(samples, frame.sample_rate)


def _without_bursts(samples: np.ndarray, notes: Notes) -> np.ndarray:
    """The samples, [C, n], without the moments that damage made absurdly loud.

    To a decoder of MP3 or AAC a flipped bit of a scale factor is no error. But where too much is
    loud nothing is damaged, and all is given back: whoever takes it refuses it.
    """
    starts = range(0, samples.shape[1], BURST_SAMPLES)
    notes.moments += len(starts)
    if peak_of(samples) <= LOUDEST:
        return samples
    moments = [samples[:, start : start + BURST_SAMPLES] for start in starts]
    quiet = [moment for moment in moments if peak_of(moment) <= LOUDEST]
    notes.bursts += len(moments) - len(quiet)
    is_loud = notes.bursts > max(FEW_BURSTS, notes.moments // MOMENTS_PER_BURST)
    return samples if is_loud or not quiet else np.concatenate(quiet, axis=1)


def _frames(
    container: InputContainer, stream: AudioStream, notes: Notes
) -> Iterator[av.AudioFrame]:
    codec = stream.codec_context
    codec.thread_count = 1  # frames this small gain nothing from more
    if codec.name == "flac":  # it has checksums; a damaged frame would be full of noise
        codec.options = {"err_detect": "crccheck+explode"}
    if codec.name == "alac":  # its last frame is short; FFmpeg would shorten it again
        codec.flags2 |= Flags2.skip_manual
    for packet in _packets(container, stream, notes):
        try:
            frames = codec.decode(packet)
        except av.FFmpegError:
            notes.skipped_packets += 1
            continue
        if codec.name == "flac" and packet is not None and not frames:
            notes.skipped_packets += 1
        yield from frames


def _packets(
    container: InputContainer, stream: AudioStream, notes: Notes
) -> Iterator[av.Packet | None]:
    """All packets that can be read, then None, which asks a decoder for what it holds back."""
    failures = 0
    while failures < MAX_FAILURES:
        try:
            for packet in container.demux(stream):
                if packet.size:
                    failures = 0
                    yield packet
            break
        except av.EOFError:
            break
        except (av.FFmpegError, IndexError):  # behind the damage, or a stream that only now begins
            notes.skipped_packets += 1
            failures += 1
    yield None


def _merged(frames: Iterator[av.AudioFrame]) -> Iterator[av.AudioFrame]:
    """Longer frames: one of a codec's own is too short for numpy to be fast."""
    for _, alike in itertools.groupby(frames, key=_kind):
        fifo = av.AudioFifo()
        for frame in _packed(alike):
            frame.pts = None  # it may jump where packets are lost
            fifo.write(frame)
            if fifo.samples * frame.layout.nb_channels >= BLOCK_VALUES:
                yield from _all_of(fifo)
        yield from _all_of(fifo)


def _packed(frames: Iterator[av.AudioFrame]) -> Iterator[av.AudioFrame]:
    """Frames of one kind, with their channels in one plane where there are many."""
    to_packed = av.AudioResampler("flt")
    for frame in frames:
        many = frame.format.is_planar and frame.layout.nb_channels > MAX_PLANES
        yield from to_packed.resample(frame) if many else [frame]


def _all_of(fifo: av.AudioFifo) -> list[av.AudioFrame]:
    frame = fifo.read(0, partial=True)
    return [] if frame is None else [frame]


def _kind(frame: av.AudioFrame) -> tuple[int, str, str]:
    return frame.sample_rate, frame.format.name, frame.layout.name


def _samples(frame: av.AudioFrame) -> np.ndarray:
    """[C, n] float32 of any of FFmpeg's sample formats."""
    values = frame.to_ndarray()
    if not frame.format.is_planar:
        values = values.reshape(frame.samples, -1).T
    if values.dtype == np.uint8:
        return (values.astype(np.float32) - 128) / 128
    with np.errstate(over="ignore", invalid="ignore"):  # a double beyond float32 becomes infinite
        samples = values.astype(np.float32)
    if values.dtype.kind == "f":
        return samples
    return samples * np.float32(2.0 ** (1 - 8 * values.dtype.itemsize))
