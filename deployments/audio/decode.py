"""A recording of any common format -> samples."""

import contextlib
import logging
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from deployments.audio import ffmpeg, libsndfile
from deployments.audio.block import Block, Notes, Undecodable
from deployments.audio.containers import Part, parts_of
from deployments.audio.mono import MonoSound
from deployments.errors import AudioTooLong, AudioUnreadable

logger = logging.getLogger(__name__)


class Answer(NamedTuple):
    """What was found in one part."""

    samples: np.ndarray  # [N] float32
    rate_hz: int
    seconds: float


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
    if not data:
        raise AudioUnreadable("the file is empty")
    try:
        answers = list(_decode_parts(parts_of(data), rate_hz, max_s))
    except Undecodable as error:
        raise AudioUnreadable(str(error)) from error
    return np.concatenate([answer.samples for answer in answers]), answers[0].rate_hz


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


def _decode_parts(parts: list[Part], rate_hz: int | None, max_s: float | None) -> Iterator[Answer]:
    """The sound of each part, all at one rate; one that cannot be decoded is skipped and logged.

    Raises:
        Undecodable: none can be.
    """
    spent_s, failed = 0.0, []
    for part in parts:
        try:
            answer = _decode_part(part, MonoSound(rate_hz, max_s, spent_s))
        except Undecodable as error:
            failed.append(error)
            continue
        spent_s += answer.seconds
        rate_hz = answer.rate_hz
        yield answer
    if len(failed) == len(parts):
        raise failed[0]
    if failed:
        logger.info("%d of %d joined recordings cannot be decoded", len(failed), len(parts))


def _decode_part(part: Part, sound: MonoSound) -> Answer:
    """FFmpeg's answer; libsndfile's where that is none, or less than the header promises."""
    notes = Notes()
    try:
        first = _collect(ffmpeg.blocks(part, notes), sound.anew())
    except AudioTooLong as error:
        raise _with_the_whole_length(error, sound.before_s, notes) from None
    except Undecodable as error:
        second = _second_opinion(part, sound)
        if second is None:
            raise error
        return second
    if not notes.is_kept(first.seconds) and not notes.skipped_packets:
        second = _second_opinion(part, sound)
        if second is not None and notes.is_kept(second.seconds):
            return second
    if not notes.is_kept(first.seconds) or notes.skipped_packets or notes.bursts:
        _log_damage(first, notes)
    return first


def _with_the_whole_length(error: AudioTooLong, before_s: float, notes: Notes) -> AudioTooLong:
    """The error with what the header promises, unless more than that is decoded already."""
    whole_s = before_s + (notes.promised_s or 0.0)
    if whole_s + notes.tolerance_s < error.seconds:
        return error
    return AudioTooLong(max(whole_s, error.seconds), error.limit_s)


def _second_opinion(part: Part, sound: MonoSound) -> Answer | None:
    try:
        return _collect(libsndfile.blocks(part), sound.anew())
    except Undecodable:
        return None


def _collect(blocks: Iterator[Block], sound: MonoSound) -> Answer:
    for block in blocks:
        sound.add(block)
    samples = sound.finish()
    if sound.rate_hz is None or not len(samples):
        raise Undecodable("the recording holds no samples")
    return Answer(samples, sound.rate_hz, sound.seconds)


def _log_damage(answer: Answer, notes: Notes) -> None:
    promised = "" if notes.promised_s is None else f" of {notes.promised_s:.2f}"
    logger.info(
        "a recording is damaged or cut: %d packets and %d moments skipped, %.2f%s s read",
        notes.skipped_packets, notes.bursts, answer.seconds, promised,
    )  # fmt: skip
