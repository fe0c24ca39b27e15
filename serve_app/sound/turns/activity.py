"""Voice activity of all sessions of a replica: their frames in batches, in one thread."""

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from serve_app.sound.voice_activity import FRAME_SAMPLES, SileroModel, SileroState, shared_model

# Requests gather for so long while batches follow each other; the first one waits for nothing.
GATHERED_S = 0.032
CLOSED = "voice activity is closed"
MOST_FRAMES = 64  # of one session in one call: a flood of one does not hold up the others


@dataclass(slots=True, eq=False)
class ActivityStream:
    """Where the model stands in the sound of one session."""

    state: SileroState = field(default_factory=SileroState)


@dataclass(slots=True, eq=False)
class _Request:
    stream: ActivityStream
    samples: np.ndarray  # [F * FRAME_SAMPLES], what is left of it
    answer: asyncio.Future[list[float]]
    found: list[float] = field(default_factory=list)


class VoiceActivity:
    """The probability of speech in the frames of any number of sessions. One a replica.

    Creating it loads the model, which takes a tenth of a second. `close` ends the thread; requests
    that are open then fail.
    """

    def __init__(self, model: SileroModel | None = None, gathered_s: float = GATHERED_S) -> None:
        self._gathered_s = gathered_s
        self._model = model or shared_model()
        self._requests: list[_Request] = []
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="voice-activity", daemon=True)
        self._thread.start()

    async def probabilities(self, stream: ActivityStream, samples: np.ndarray) -> list[float]:
        """Hear the next frames of one session; one call at a time for each stream.

        Args:
            stream: the session's, advanced by the call.
            samples: [F * FRAME_SAMPLES] float32 at 16 kHz.

        Returns:
            F probabilities.
        """
        if not len(samples):
            return []
        answer: asyncio.Future[list[float]] = asyncio.get_running_loop().create_future()
        with self._changed:
            if self._closed:
                raise RuntimeError(CLOSED)
            self._requests.append(_Request(stream, samples, answer))
            self._changed.notify()
        return await answer

    def close(self) -> None:
        """End the thread. Does not wait for it."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _run(self) -> None:
        left: list[_Request] = []
        while (requests := self._take(left)) is not None:
            began = time.monotonic()
            try:
                left = self._step(requests)
            except Exception as error:  # the thread goes on for the other sessions
                left = []
                _tell(requests, partial(_fail, error=error))
            if not left:
                time.sleep(max(0.0, began + self._gathered_s - time.monotonic()))

    def _take(self, left: list[_Request]) -> list[_Request] | None:
        """The requests of the next batch with those left over; None at the end."""
        with self._changed:
            while not (self._requests or left or self._closed):
                self._changed.wait()
            requests, self._requests = left + self._requests, []
            closed = self._closed
        if closed:
            _tell(requests, partial(_fail, error=RuntimeError(CLOSED)))
        return None if closed else requests

    def _step(self, requests: list[_Request]) -> list[_Request]:
        """One call of the model on all of them; those that have frames left."""
        length = min(len(request.samples) for request in requests)
        length = min(length, MOST_FRAMES * FRAME_SAMPLES)
        values, states = self._model.step(
            np.stack([request.samples[:length] for request in requests]),
            [request.stream.state for request in requests],
        )
        for request, found, state in zip(requests, values.tolist(), states, strict=True):
            request.stream.state, request.samples = state, request.samples[length:]
            request.found += found
        _tell([request for request in requests if not len(request.samples)], _resolve)
        return [request for request in requests if len(request.samples)]


def _tell(requests: list[_Request], how: Callable[[list[_Request]], None]) -> None:
    """Wake the callers, with one call into each event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Request]] = {}
    for request in requests:
        by_loop.setdefault(request.answer.get_loop(), []).append(request)
    for loop, of_loop in by_loop.items():
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(how, of_loop)


def _resolve(requests: list[_Request]) -> None:
    for request in requests:
        if not request.answer.done():  # its caller may have been cancelled
            request.answer.set_result(request.found)


def _fail(requests: list[_Request], error: Exception) -> None:
    for request in requests:
        if not request.answer.done():
            request.answer.set_exception(error)
