"""Encoding beside the event loop: in a thread where it takes time."""

import asyncio
import os
from collections.abc import AsyncGenerator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

from serve_app.sound.encoding.format_table import AudioEncoder, AudioFormat
from serve_app.sound.encoding.tempo import at_speed

MOST_THREADS = 8  # 200 ms of MP3, the slowest format, take one of them 1.5 ms


class Encoding:
    """The sound of one answer on its way to a client, encoded in order.

    A thread opens the encoder at once: that takes a third of what the first chunk takes, and is
    over long before there is one.
    """

    def __init__(self, form: AudioFormat, speed: float) -> None:
        self._make = at_speed(form.encoder, speed)
        self._encoder: AudioEncoder | None = None
        takes_time = form.compressed or speed != 1
        self._step: Future[Any] | None = _threads().submit(self._open) if takes_time else None

    async def encode(self, pcm: bytes) -> bytes:
        """Take s16le mono 24 kHz in, give what can be sent so far, perhaps nothing."""
        return await self._run(pcm)

    async def finish(self) -> bytes:
        """All that was held back; called once, after the last PCM."""
        return await self._run(None)

    async def _run(self, pcm: bytes | None) -> bytes:
        if self._step is None:
            return self._work(pcm)
        if not self._step.done():  # the encoder is still being opened
            await asyncio.wrap_future(self._step)
        self._step = _threads().submit(self._work, pcm)
        encoded: bytes = await asyncio.wrap_future(self._step)
        return encoded

    def _open(self) -> AudioEncoder:
        if self._encoder is None:
            self._encoder = self._make()
        return self._encoder

    def _work(self, pcm: bytes | None) -> bytes:
        encoder = self._open()
        return encoder.finish() if pcm is None else encoder.encode(pcm)

    def close(self) -> None:
        """Free the encoder, in its thread if that is still at work."""
        if self._step is None:
            self._free()
        else:
            self._step.add_done_callback(lambda _: self._free())

    def _free(self) -> None:
        encoder, self._encoder = self._encoder, None  # its step and this one refer to each other
        if encoder is not None:
            encoder.close()


@asynccontextmanager
async def encoding(form: AudioFormat, speed: float = 1.0) -> AsyncGenerator[Encoding]:
    """The encoding of one answer, which is freed however the answer ends.

    `speed` is how fast the answer is spoken, at the same pitch: 0.25 to 4.
    """
    sound = Encoding(form, speed)
    try:
        yield sound
    finally:
        sound.close()


@cache
def _threads() -> ThreadPoolExecutor:
    """Threads of their own: a long recording that is decoded in asyncio's makes no sound wait."""
    workers = min(MOST_THREADS, os.cpu_count() or 1)
    return ThreadPoolExecutor(workers, thread_name_prefix="encode")
