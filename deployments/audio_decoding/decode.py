"""A recording of any common format -> samples."""

import contextlib
import logging
from collections.abc import Iterator

import numpy as np

from deployments.audio_decoding import ffmpeg, libsndfile
from deployments.audio_decoding.block import Block, Notes, Undecodable
from deployments.audio_decoding.containers import Part, parts_of
from deployments.audio_decoding.mono import MonoSound
from deployments.errors import AudioTooLong, AudioUnreadable

logger = logging.getLogger(__name__)


def decode_audio(
    data: bytes, rate_hz: int | None = None, max_s: float | None = None
) -> tuple[np.ndarray, int]:
    """Decode a recording of any common format: WAV, FLAC, MP3, Ogg, M4A, WebM…

    Recordings that were joined end to end are all read. What is damaged is skipped and logged;
    a file that was cut is read up to there.

    Args:
        data: the file, as it came.
        rate_hz: the wanted sample rate; None keeps the recording's own.
        max_s: refuse what is longer. Decoding stops there: 25 MB of speech can be hours.

    Returns:
        [N] float32, the mean of all channels, and its rate. All samples are finite, none is
        denormal, and none is beyond `mono.LOUDEST` but for what resampling overshoots.

    Raises:
        AudioUnreadable: there is no sound in `data`, or none that an engine could take.
        AudioTooLong: it lasts longer than `max_s`.
    """
    recording = Recording(data, rate_hz, max_s)
    samples = np.concatenate(list(recording.blocks()))
    assert recording.rate_hz is not None  # there are samples
    return samples, recording.rate_hz


def channels_of(data: bytes) -> int:
    """How many channels a recording has, in its first part that can be decoded.

    Raises:
        AudioUnreadable: none can be.
    """
    for part in parts_of(data):
        for blocks in (ffmpeg.blocks(part, Notes()), libsndfile.blocks(part)):
            with contextlib.suppress(Undecodable, StopIteration):
                return len(next(blocks).samples)
    raise AudioUnreadable("no known format, or the file is damaged")


class Recording:
    """A file as `decode_audio` reads it, block by block: an hour takes the memory of a second.

    Args:
        data, rate_hz, max_s: as of `decode_audio`.

    Raises:
        AudioUnreadable: nothing is in `data`, or too many recordings one after another.
    """

    def __init__(self, data: bytes, rate_hz: int | None = None, max_s: float | None = None) -> None:
        self.rate_hz = rate_hz  # once the first block is there, that of all
        self.seconds = 0.0  # decoded so far
        self._max_s = max_s
        if not data:
            raise AudioUnreadable("the file is empty")
        try:
            self._parts = parts_of(data)
        except Undecodable as error:
            raise AudioUnreadable(str(error)) from error

    def blocks(self) -> Iterator[np.ndarray]:
        """All samples, each block [n] float32 at `rate_hz`; called once.

        A part that cannot be decoded is skipped and logged.

        Raises:
            AudioUnreadable, AudioTooLong: as of `decode_audio`.
        """
        failed = []
        for part in self._parts:
            try:
                yield from self._decoded(part)
            except Undecodable as error:
                failed.append(error)
        if len(failed) == len(self._parts):
            raise AudioUnreadable(str(failed[0])) from failed[0]
        if failed:
            logger.info(
                "%d of %d joined recordings cannot be decoded", len(failed), len(self._parts)
            )

    def require_length(self) -> None:
        """Raise AudioTooLong if it lasts longer than `max_s` by its packets, which are not decoded.

        That takes a hundredth of the time. A recording whose packets do not say how long they last
        passes, and `blocks` refuses it in the end.
        """
        seconds = sum(map(ffmpeg.seconds_of_packets, self._parts))
        if self._max_s is not None and seconds > self._max_s + ffmpeg.PACKETS_TOLERANCE_S:
            raise AudioTooLong(seconds, self._max_s)

    def _decoded(self, part: Part) -> Iterator[np.ndarray]:
        """FFmpeg's samples; libsndfile's where there are none, and the rest where some are missing.

        Raises:
            Undecodable: neither finds a sample.
        """
        notes, before_s, given = Notes(), self.seconds, 0
        refusal = Undecodable("the recording holds no samples")
        try:
            for samples in self._mono(ffmpeg.blocks(part, notes)):
                given += len(samples)
                yield samples
        except AudioTooLong as error:
            raise _with_the_whole_length(error, before_s, notes) from None
        except Undecodable as error:
            refusal = error
            notes.skipped_packets += 1
        seconds = self.seconds - before_s
        if not given or _misses_what_libsndfile_finds(part, notes, seconds):
            self.seconds = before_s
            try:
                for samples in self._mono(libsndfile.blocks(part)):
                    yield samples[given:]
                    given = max(given - len(samples), 0)
            except Undecodable:
                raise refusal from None
            if self.seconds == before_s:
                raise refusal
        elif not notes.is_kept(seconds) or notes.skipped_packets or notes.bursts:
            _log_damage(seconds, notes)

    def _mono(self, blocks: Iterator[Block]) -> Iterator[np.ndarray]:
        before_s = self.seconds
        sound = MonoSound(self.rate_hz, self._max_s, before_s)
        for block in blocks:
            samples = sound.add(block)
            self.rate_hz, self.seconds = sound.rate_hz, before_s + sound.seconds
            yield samples
        yield sound.finish()


def _misses_what_libsndfile_finds(part: Part, notes: Notes, seconds: float) -> bool:
    """Whether FFmpeg's `seconds` are fewer than the header promises, and libsndfile keeps it."""
    if notes.is_kept(seconds) or notes.skipped_packets:
        return False
    blocks = libsndfile.blocks(part)
    try:
        return notes.is_kept(sum(block.samples.shape[1] / block.rate_hz for block in blocks))
    except Undecodable:
        return False


def _with_the_whole_length(error: AudioTooLong, before_s: float, notes: Notes) -> AudioTooLong:
    """The error with what the header promises, unless more than that is decoded already."""
    whole_s = before_s + (notes.promised_s or 0.0)
    if whole_s + notes.tolerance_s < error.seconds:
        return error
    return AudioTooLong(max(whole_s, error.seconds), error.limit_s)


def _log_damage(seconds: float, notes: Notes) -> None:
    promised = "" if notes.promised_s is None else f" of {notes.promised_s:.2f}"
    logger.info(
        "a recording is damaged or cut: %d packets and %d moments skipped, %.2f%s s read",
        notes.skipped_packets, notes.bursts, seconds, promised,
    )  # fmt: skip
