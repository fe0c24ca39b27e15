"""Speech that is faster or slower at the same pitch, while it is made: FFmpeg's `atempo`."""

from collections.abc import Callable, Iterator

import av
import numpy as np
from av.filter import Graph

from deployments.messages import OUTPUT_SAMPLE_RATE_HZ
from serve_app.sound.encoding.filter_threads import use_no_threads
from serve_app.sound.encoding.format_table import AudioEncoder
from serve_app.sound.encoding.pcm import BYTES_PER_SAMPLE

SLOWEST, FASTEST = (
    0.5,
    2.0,
)  # of one filter: a faster one leaves sound out, a slower one there is not
# The filter gives a block once it has the sound for all of it: blocks of 20 ms hold less back than
# a chunk of 200 ms would, and cost 1 ms more of CPU time for a second of sound.
BLOCK_BYTES = BYTES_PER_SAMPLE * OUTPUT_SAMPLE_RATE_HZ // 50


class Tempo:
    """Changes the speed of one answer's sound; s16le mono 24 kHz in and out.

    The filter holds back 40 to 80 ms of the sound up to twice the speed, 200 ms at four times.
    """

    def __init__(self, speed: float) -> None:
        """`speed`: 2 takes half of the time."""
        self._speed = speed
        self._graph = _graph(speed)
        self._pending = b""  # less than a block
        self._took = self._gave = 0  # samples

    def push(self, pcm: bytes) -> bytes:
        """Take sound in, give what is ready of it, perhaps nothing."""
        pending = self._pending + pcm
        whole = len(pending) - len(pending) % BLOCK_BYTES
        self._pending = pending[whole:]
        for at in range(0, whole, BLOCK_BYTES):
            self._take(pending[at : at + BLOCK_BYTES])
        return self._give()

    def finish(self) -> bytes:
        """The rest: with it the sound is as long, to a sample, as `speed` says."""
        if self._pending:
            self._take(self._pending)
        left = BYTES_PER_SAMPLE * (round(self._took / self._speed) - self._gave)
        self._graph.push(None)
        return self._give()[:left].ljust(left, b"\0")

    def _take(self, pcm: bytes) -> None:
        samples = np.frombuffer(pcm, dtype="<i2").reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate, frame.pts = OUTPUT_SAMPLE_RATE_HZ, self._took
        self._took += frame.samples
        self._graph.push(frame)

    def _give(self) -> bytes:
        pcm = b"".join(_ready(self._graph))
        self._gave += len(pcm) // BYTES_PER_SAMPLE
        return pcm


class TempoEncoder:
    """Implements `AudioEncoder`: another one behind a `Tempo`."""

    def __init__(self, tempo: Tempo, encoder: AudioEncoder) -> None:
        self._tempo = tempo
        self._encoder = encoder

    def encode(self, pcm: bytes) -> bytes:
        changed = self._tempo.push(pcm)
        return self._encoder.encode(changed) if changed else b""

    def finish(self) -> bytes:
        changed = self._tempo.finish()
        return (self._encoder.encode(changed) if changed else b"") + self._encoder.finish()

    def close(self) -> None:
        self._encoder.close()


def at_speed(make: Callable[[], AudioEncoder], speed: float) -> Callable[[], AudioEncoder]:
    """What makes encoders of sound at `speed`: `make` itself at 1, so that it costs nothing."""
    return make if speed == 1 else lambda: TempoEncoder(Tempo(speed), make())


def _graph(speed: float) -> Graph:
    """A filter, or two where one is not enough: from a quarter of the speed to four times it."""
    use_no_threads()
    graph = Graph()
    source = graph.add_abuffer(sample_rate=OUTPUT_SAMPLE_RATE_HZ, format="s16", layout="mono")
    filters = [graph.add("atempo", str(factor)) for factor in _factors(speed)]
    graph.link_nodes(source, *filters, graph.add("abuffersink"))
    graph.configure()
    return graph


def _factors(speed: float) -> Iterator[float]:
    first = min(max(speed, SLOWEST), FASTEST)
    yield first
    if first != speed:
        yield speed / first


def _ready(graph: Graph) -> Iterator[bytes]:
    while True:
        try:
            yield graph.pull().to_ndarray().tobytes()
        except (av.error.BlockingIOError, av.error.EOFError):  # it wants more, or that was all
            return
