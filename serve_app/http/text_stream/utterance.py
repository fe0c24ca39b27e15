"""A text on its way to the graph: what of it is complete, and when that is asked for."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from deployments.messages import OUTPUT_SAMPLE_RATE_HZ, SpeechDelta, Usage
from deployments.spoken_answer.pauses import Pauses
from serve_app.http.speech.asking import passages_of
from serve_app.sound.growing_text import GrowingText, spoken_sentences
from serve_app.sound.text_passages import Passage, can_be_spoken, pause_after_s

AHEAD_S = 3.0
"""The next sentences are asked for when less sound than this waits to be played: a busy server
needs a second to their first sound. The later they are asked for, the more are spoken together."""

BYTES_PER_SAMPLE = 2
Ask = Callable[[Sequence[Passage]], AsyncGenerator[SpeechDelta]]
"""Has passages spoken in one stream of sound. Closing it frees all it holds."""


@dataclass(frozen=True, slots=True)
class Sound:
    """What comes next of an utterance."""

    pcm: bytes = b""  # s16le, mono, 24 kHz
    begins: str | None = None  # the text of the passage whose first sound this is
    usage: Usage | None = None  # of the passages of one request, with its last sound


class Utterance:
    """A text that is written by one task and taken by another."""

    def __init__(self, limit_s: float) -> None:
        """
        Args:
            limit_s: how long a quick voice may take for what the model speaks in one go.
        """
        self.characters = 0  # that were written
        self._text = GrowingText(limit_s)
        self._written = asyncio.Event()
        self._ended = asyncio.Event()

    @property
    def has_ended(self) -> bool:
        """Whether its text is complete."""
        return self._ended.is_set()

    def write(self, text: str) -> None:
        """Add `text` at the end."""
        self.characters += len(text)
        self._text.write(text)
        self._written.set()

    def end(self) -> None:
        """The text is complete."""
        self._ended.set()
        self._written.set()

    async def take(self) -> str | None:
        """All sentences that are complete and were not taken, at least one; None after the last."""
        while True:
            self._written.clear()
            has_ended = self.has_ended
            text = spoken_sentences(self._text.rest() if has_ended else self._text.take())
            if can_be_spoken(text):
                return text
            if has_ended:
                return None
            await self._written.wait()

    async def complete_within(self, seconds: float) -> None:
        """Return when the text is complete, or after so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._ended.wait()
        except TimeoutError:
            pass


async def spoken(
    utterance: Utterance, ask: Ask, limit_s: float, now_s: Callable[[], float] = time.monotonic
) -> AsyncGenerator[Sound]:
    """The sound of an utterance while it is written, without pieces that are empty.

    All sentences that are complete are asked for together: they are spoken in one stream, in one
    state of the voice. Those that come meanwhile are asked for when that has ended and little is
    left to be played.

    Raises:
        whatever `ask` does.
    """
    joints = _Joints()
    plays_until_s = now_s()
    while (text := await utterance.take()) is not None:
        parts = await passages_of(text.strip(), limit_s)
        async with aclosing(_asked(parts, ask)) as sounds:
            async for sound in sounds:
                plays_until_s = max(plays_until_s, now_s()) + joints.seconds_of(sound.pcm)
                yield Sound(joints.push(sound.pcm), sound.begins, sound.usage)
        joints.add(pause_after_s(text))
        await utterance.complete_within(plays_until_s - AHEAD_S - now_s())


async def _asked(parts: Sequence[Passage], ask: Ask) -> AsyncGenerator[Sound]:
    begun = 0
    async with aclosing(ask(parts)) as deltas:
        async for delta in deltas:
            while delta.pcm and begun <= delta.part:
                yield Sound(begins=parts[begun].text)
                begun += 1
            if delta.pcm or delta.usage:
                yield Sound(delta.pcm, usage=delta.usage)


class _Joints:
    """The quiet between what was asked for separately, as long as its punctuation asks for."""

    def __init__(self) -> None:
        self._pauses = Pauses()
        self._samples = 0  # that were pushed

    @staticmethod
    def seconds_of(pcm: bytes) -> float:
        return len(pcm) / BYTES_PER_SAMPLE / OUTPUT_SAMPLE_RATE_HZ

    def add(self, pause_s: float) -> None:
        """Have so much quiet around the end of what was pushed."""
        self._pauses.add(self._samples, pause_s)

    def push(self, pcm: bytes) -> bytes:
        self._samples += len(pcm) // BYTES_PER_SAMPLE
        return self._pauses.push(pcm) if pcm else pcm
