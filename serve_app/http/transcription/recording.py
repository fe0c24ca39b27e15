"""A recording on its way to the model: decoded and cut in threads, as far as it is needed."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import ParamSpec, TypeVar

import numpy as np

from deployments.audio_decoding import Recording
from deployments.errors import StepAudioError
from deployments.messages import INPUT_SAMPLE_RATE_HZ
from serve_app.sound.recording_pieces import Cutting, Piece, PieceCutter
from serve_app.sound.voice_activity import shared_model

PARAM = "file"
STEP_S = 10.0  # decoded and searched for speech at once: 50 ms of a core
P = ParamSpec("P")
T = TypeVar("T")


class RecordingReader:
    """Reads the recording of one request, [n] float32 at 16 kHz a call.

    Its methods raise AudioUnreadable and AudioTooLong, which name the request's field.
    """

    def __init__(self, data: bytes, limit_s: float) -> None:
        self._open = lambda: Recording(data, INPUT_SAMPLE_RATE_HZ, limit_s)
        self._recording: Recording | None = None
        self.ended = False

    @property
    def seconds(self) -> float:
        """How much is read."""
        return self._recording.seconds if self._recording else 0.0

    async def read(self, seconds: float) -> np.ndarray:
        """The next `seconds` and a little more; or all that is left, and it has `ended`."""
        return await _in_thread(self._read, seconds)

    async def require_length(self) -> None:
        """Refuse a recording over the limit before its rest is read, where its packets tell."""
        if self._recording is not None and not self.ended:
            await _in_thread(self._recording.require_length)

    async def pieces(self, head: np.ndarray, cutting: Cutting) -> AsyncGenerator[Piece]:
        """The speech of `head`, which was read before, and of the rest, which is read now."""
        cutter = PieceCutter(await _in_thread(shared_model), cutting)
        for piece in await _in_thread(cutter.push, head):
            yield piece
        while not self.ended:
            for piece in await _in_thread(self._read_and_cut, cutter):
                yield piece
        for piece in await _in_thread(cutter.finish):
            yield piece

    def _read_and_cut(self, cutter: PieceCutter) -> list[Piece]:
        return cutter.push(self._read(STEP_S))

    def _read(self, seconds: float) -> np.ndarray:
        if self._recording is None:
            self._recording = self._open()
            self._blocks = self._recording.blocks()
        wanted, found = round(seconds * INPUT_SAMPLE_RATE_HZ), [np.empty(0, np.float32)]
        while sum(map(len, found)) <= wanted:
            block = next(self._blocks, None)
            if block is None:
                self.ended = True
                break
            found.append(block)
        return np.concatenate(found)


async def _in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    try:
        return await asyncio.to_thread(work, *args, **kwargs)
    except StepAudioError as error:
        error.param = PARAM
        raise
