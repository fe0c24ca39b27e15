"""Encoding beside the event loop."""

import asyncio
import gc
import threading
from collections.abc import Iterator
from dataclasses import replace
from weakref import WeakSet

import pytest

from serve_app.sound.encoding.encoder_threads import encoding
from serve_app.sound.encoding.format_table import FORMATS, AudioFormat
from tests.sounds import decoded, tone


class Noting:
    """An encoder that notes where it works and when it is closed; `gate` holds `encode` back."""

    def __init__(self) -> None:
        self.threads: set[str] = set()
        self.closed = threading.Event()
        self.working = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def encode(self, pcm: bytes) -> bytes:
        self.threads.add(threading.current_thread().name)
        self.working.set()
        assert self.gate.wait(5)
        assert not self.closed.is_set()
        if pcm == b"bad":
            raise ValueError("the codec gave up")
        return pcm

    def finish(self) -> bytes:
        return b"end"

    def close(self) -> None:
        self.closed.set()


@pytest.fixture
def noting() -> Iterator[Noting]:
    encoder = Noting()
    yield encoder
    encoder.gate.set()


def format_of(encoder: Noting, compressed: bool = True) -> AudioFormat:
    return replace(FORMATS["mp3"], encoder=lambda: encoder, compressed=compressed)


async def test_compressed_sound_is_encoded_in_a_thread_and_raw_sound_at_once(
    noting: Noting,
) -> None:
    for compressed, here in ((True, False), (False, True)):
        noting.threads.clear()
        async with encoding(format_of(noting, compressed)) as sound:
            assert await sound.encode(b"pcm") == b"pcm"
            assert await sound.finish() == b"end"
        assert (threading.current_thread().name in noting.threads) == here
        assert noting.closed.wait(5)
        noting.closed.clear()


async def test_the_event_loop_goes_on_while_a_chunk_is_encoded(noting: Noting) -> None:
    noting.gate.clear()
    async with encoding(format_of(noting)) as sound:
        step = asyncio.create_task(sound.encode(b"pcm"))
        while not noting.working.is_set():
            await asyncio.sleep(0.001)
        assert not step.done()
        noting.gate.set()
        assert await step == b"pcm"


async def test_a_cancelled_answer_frees_its_encoder_once_the_thread_is_done_with_it(
    noting: Noting,
) -> None:
    noting.gate.clear()

    async def answer() -> None:
        async with encoding(format_of(noting)) as sound:
            await sound.encode(b"pcm")

    task = asyncio.create_task(answer())
    while not noting.working.is_set():
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not noting.closed.is_set()  # the thread is still at work
    noting.gate.set()
    assert await asyncio.to_thread(noting.closed.wait, 5)


async def test_cancelled_answers_leave_nothing_for_the_collector() -> None:
    encoders: WeakSet[Noting] = WeakSet()

    def make() -> Noting:
        encoder = Noting()
        encoders.add(encoder)
        encoder.gate.clear()
        return encoder

    async def answer() -> None:
        async with encoding(replace(FORMATS["mp3"], encoder=make)) as sound:
            await sound.encode(b"pcm")

    gc.disable()
    try:
        task = asyncio.create_task(answer())
        while not any(encoder.working.is_set() for encoder in encoders):
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.wait([task])
        del task
        for encoder in encoders:
            encoder.gate.set()
        del encoder
        async with asyncio.timeout(5):
            while encoders:
                await asyncio.sleep(0.001)
    finally:
        gc.enable()


@pytest.mark.parametrize("compressed", [True, False])
async def test_an_encoder_that_fails_is_freed_and_its_error_seen(
    noting: Noting, compressed: bool
) -> None:
    with pytest.raises(ValueError, match="the codec gave up"):
        async with encoding(format_of(noting, compressed)) as sound:
            await sound.encode(b"bad")
    assert noting.closed.wait(5)


async def test_an_answer_without_sound_frees_its_encoder_too(noting: Noting) -> None:
    opened = threading.Event()

    def make() -> Noting:
        opened.set()
        return noting

    async with encoding(replace(FORMATS["mp3"], encoder=make)):
        assert await asyncio.to_thread(opened.wait, 5)  # before there is any sound
    assert await asyncio.to_thread(noting.closed.wait, 5)


async def test_an_answer_that_is_over_before_its_encoder_is_open_frees_it_too(
    noting: Noting,
) -> None:
    opening, go_on = threading.Event(), threading.Event()

    def make() -> Noting:
        opening.set()
        assert go_on.wait(5)
        return noting

    async with encoding(replace(FORMATS["mp3"], encoder=make)):
        assert await asyncio.to_thread(opening.wait, 5)
    assert not noting.closed.is_set()
    go_on.set()
    assert await asyncio.to_thread(noting.closed.wait, 5)


async def test_an_encoder_that_cannot_be_opened_is_an_error_of_the_first_chunk() -> None:
    def make() -> Noting:
        raise ValueError("no such codec")

    with pytest.raises(ValueError, match="no such codec"):
        async with encoding(replace(FORMATS["mp3"], encoder=make)) as sound:
            await sound.encode(b"pcm")


async def test_many_answers_at_once_do_not_mix() -> None:
    form = FORMATS["flac"]

    async def answer(begin: int) -> bytes:
        async with encoding(form) as sound:
            pieces = [await sound.encode(tone(4800, begin + i)) for i in range(0, 48_000, 4800)]
            return b"".join([*pieces, await sound.finish()])

    begins = range(0, 32 * 7, 7)
    for begin, data in zip(begins, await asyncio.gather(*map(answer, begins)), strict=True):
        pcm = (32768 * decoded(data)[:48_000]).round().astype("<i2").tobytes()
        assert pcm == tone(48_000, begin)
