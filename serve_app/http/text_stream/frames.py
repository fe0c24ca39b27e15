"""From the sound of an utterance to the frames that a client gets."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from deployments.messages import OUTPUT_SAMPLE_RATE_HZ, Usage
from serve_app.http.streaming import base64_of
from serve_app.http.text_stream.types import (
    AudioDelta,
    AudioDone,
    AudioStart,
    ServerFrame,
    SessionConfig,
    SessionDone,
    Status,
)
from serve_app.http.text_stream.utterance import BYTES_PER_SAMPLE, Sound
from serve_app.http.types import TokenUsage
from serve_app.sound.encoding.encoder_threads import encoding
from serve_app.sound.encoding.format_table import FORMATS


class Framed:
    """The frames of one utterance, and what was sent of it."""

    def __init__(self, index: int, config: SessionConfig) -> None:
        self._index, self._config = index, config
        self._speed = config.speed or 1.0
        self._sentences = 0  # that have begun
        self._is_open = False  # whether the last of them goes on
        self._bytes = 0  # of that one
        self._sound_s = 0.0
        self._usage = Usage(0, 0, answers=0)

    async def frames(self, sounds: AsyncGenerator[Sound]) -> AsyncGenerator[ServerFrame | bytes]:
        """All of `sounds` in one encoding: the bytes together are one file."""
        form = FORMATS[self._config.response_format]
        async with aclosing(sounds), encoding(form, self._speed) as sound:
            async for each in sounds:
                if each.begins is not None:
                    for frame in self._begun(each.begins):
                        yield frame
                self._usage += each.usage or Usage(0, 0, answers=0)
                self._sound_s += len(each.pcm) / BYTES_PER_SAMPLE / OUTPUT_SAMPLE_RATE_HZ
                if each.pcm and (data := await sound.encode(each.pcm)):
                    yield self._sound(data)
            if self._sentences and (data := await sound.finish()):
                yield self._sound(data)

    def ended(self, status: Status) -> list[ServerFrame]:
        """What a client is told at the end, which may have come early."""
        done = SessionDone(
            utterance_index=self._index,
            total_sentences=self._sentences,
            status=status,
            usage=TokenUsage.of(self._usage),
        )
        return [*self._closed(error=status == "failed"), done]

    def _begun(self, text: str) -> list[ServerFrame]:
        before = self._closed()
        self._sentences += 1
        self._is_open, self._bytes = True, 0
        start = AudioStart(
            utterance_index=self._index,
            sentence_index=self._sentences - 1,
            sentence_text=text,
            format=self._config.response_format,
            sample_rate=OUTPUT_SAMPLE_RATE_HZ,
            start_s=round(self._sound_s / self._speed, 3),
        )
        return [*before, start]

    def _closed(self, *, error: bool = False) -> list[ServerFrame]:
        if not self._is_open:
            return []
        self._is_open = False
        done = AudioDone(
            utterance_index=self._index,
            sentence_index=self._sentences - 1,
            total_bytes=self._bytes,
            error=error,
        )
        return [done]

    def _sound(self, data: bytes) -> ServerFrame | bytes:
        self._bytes += len(data)
        if self._config.stream_format == "audio":
            return data
        return AudioDelta(
            utterance_index=self._index,
            sentence_index=self._sentences - 1,
            delta=base64_of(data),
        )
