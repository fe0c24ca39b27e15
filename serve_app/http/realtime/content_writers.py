"""The events of an answer's content while it is made: text, or sound with its transcript."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from serve_app.graph.answers import Delta
from serve_app.http.realtime.audio_formats import base64_pieces, sound_out
from serve_app.http.realtime.items import Content, Speech, Text
from serve_app.http.realtime.response_plan import Plan
from serve_app.sound.captions import Caption
from serve_app.sound.encoding.encoder_threads import Encoding
from serve_app.sound.encoding.format_table import FORMATS
from serve_app.sound.encoding.pcm import seconds_of

Send = Callable[..., None]  # sends the event of a kind, with fields, about this content
MAX_SOUND_BYTES = 96_000  # of one event, before base64: 2 s of pcm
MAX_TEXT_CHARS = 32_000  # of one event; JSON takes 6 bytes for a character at most


class ContentWriter(Protocol):
    """Writes one content part of a message."""

    @property
    def content(self) -> Content:
        """What has come so far."""

    async def take(self, delta: Delta) -> None:
        """Send what a delta brings."""

    async def finish(self) -> None:
        """Send what is held back."""

    def end(self) -> None:
        """Say that it is over, complete or not."""

    def part(self) -> dict[str, Any]:
        """The part as it is now."""

    def close(self) -> None:
        """Free what is held."""


class TextWriter:
    """Implements `ContentWriter` for an answer in text."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.content = Text("", "output_text")

    async def take(self, delta: Delta) -> None:
        self.content.text += delta.text
        for piece in pieces(delta.text):
            self._send("output_text.delta", delta=piece)

    async def finish(self) -> None:
        pass

    def end(self) -> None:
        self._send("output_text.done", text=self.content.text)

    def part(self) -> dict[str, Any]:
        return {"type": "text", "text": self.content.text}

    def close(self) -> None:
        pass


class SpeechWriter:
    """Implements `ContentWriter` for an answer aloud."""

    def __init__(
        self, send: Send, plan: Plan, content: Speech, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._send = send
        self.content = content
        self._now_s = now_s
        self._tempo = None if plan.speed == 1 else Encoding(FORMATS["pcm16"], plan.speed)
        self._coder = sound_out(plan.format)

    async def take(self, delta: Delta) -> None:
        content, pcm = self.content, getattr(delta, "pcm", b"")
        content.transcript += delta.text
        content.token_ids += delta.token_ids
        content.captions.hear(pcm)
        self._caption(content.captions.read(delta.text))
        if pcm:
            self._sound(await self._tempo.encode(pcm) if self._tempo else pcm)

    def _caption(self, captions: Sequence[Caption]) -> None:
        """Send words, with estimates of when they are heard: `start_time` is LiveKit's."""
        for caption in captions:
            start_s = round(caption.start_s / self.content.speed, 3)
            for piece in pieces(caption.text):
                self._send("output_audio_transcript.delta", delta=piece, start_time=start_s)

    def _sound(self, pcm: bytes, last: bool = False) -> None:
        for piece in base64_pieces(self._coder.push(pcm, last), MAX_SOUND_BYTES):
            self._send("output_audio.delta", delta=piece)
        self.content.sent(seconds_of(len(pcm)), self._now_s())

    async def finish(self) -> None:
        self._sound(await self._tempo.finish() if self._tempo else b"", last=True)
        self._caption(self.content.captions.finish())

    def end(self) -> None:
        self._send("output_audio.done")
        self._send("output_audio_transcript.done", transcript=self.content.said())

    def part(self) -> dict[str, Any]:
        return {"type": "audio", "transcript": self.content.said()}

    def close(self) -> None:
        if self._tempo:
            self._tempo.close()


def pieces(text: str) -> list[str]:
    """`text` in pieces that fit into an event."""
    return [text[at : at + MAX_TEXT_CHARS] for at in range(0, len(text), MAX_TEXT_CHARS)]
