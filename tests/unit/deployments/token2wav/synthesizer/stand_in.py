"""A stand-in engine that notes what it was asked for, and a synthesizer over it."""

import asyncio
import threading
import time
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

from deployments.chunker import Chunk, ChunkSchedule
from deployments.errors import AudioUnreadable
from deployments.token2wav.configured_voices import VoiceRecording
from deployments.token2wav.contract import StepEngine, StepOutput
from deployments.token2wav.synthesizer import BatchingSynthesizer

STEP_S = 0.02
SCHEDULE = ChunkSchedule(ramp=(4, 6), steady=10, lookahead=3)
BUSY = ChunkSchedule(ramp=(8,), steady=10, lookahead=3)


class StandIn:
    """Gives its tokens back as bytes of PCM; notes each call, and the thread of it."""

    codebook_size, lookahead, max_streams, rows_share_a_step = 100, 3, 3, True

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.chunks: list[tuple[int, bool]] = []  # tokens of each, and whether it was the last
        self.prepared: list[bytes] = []
        self.opened = 0
        self.closed: list[str] = []
        self.threads: set[int] = set()
        self.stepping = False
        self.fails = False
        self.broken: set[str] = set()  # states that turn non-finite
        self.off_by = 0  # added to every token
        self.may_end = threading.Event()  # a step that is held up ends when it is set
        self.may_end.set()
        self.may_encode = threading.Event()
        self.may_encode.set()

    def encode_voice(self, data: bytes) -> str:
        self.prepared.append(data)
        self.may_encode.wait(10)
        if data == b"broken":
            raise AudioUnreadable("broken")
        return data.decode()

    def place_voice(self, encoded: str) -> Generator[None, None, str]:
        self.threads.add(threading.get_ident())
        yield
        self.threads.add(threading.get_ident())
        return encoded

    def open(self, voice: str) -> str:
        self.opened += 1
        return f"{voice}-{self.opened}"

    def close(self, state: str) -> None:
        self.closed.append(state)

    def step(self, rows):
        self.threads.add(threading.get_ident())
        self.stepping = True
        self.compute()
        self.stepping = False
        if self.fails:
            raise RuntimeError("out of memory")
        self.batches.append(len(rows))
        self.chunks += [(len(row.tokens), row.last) for row in rows]
        return [self._speak(row) for row in rows]

    def compute(self) -> None:
        time.sleep(STEP_S)
        self.may_end.wait(10)

    def _speak(self, row) -> StepOutput:
        if row.state in self.broken:
            return StepOutput(b"", row.state, finite=False)
        return StepOutput(bytes(token + self.off_by for token in row.tokens), row.state)


def schedules(open_streams: int, lookahead: int) -> ChunkSchedule:
    assert lookahead == StandIn.lookahead
    return BUSY if open_streams >= 2 else SCHEDULE


def recording(data: bytes) -> VoiceRecording:
    return VoiceRecording(Path("voice.wav"), data, seconds=1.0)


def synthesizer_over(
    load: Callable[[], StepEngine], recordings: Mapping[str, VoiceRecording], **seams: Any
) -> BatchingSynthesizer:
    """Not yet started."""
    return BatchingSynthesizer(load, recordings, schedules, max_batch=8, cached_voices=2, **seams)


def chunk(*tokens: int) -> Chunk:
    return Chunk(tokens, last=False)


async def begun(engine: StandIn) -> None:
    """Wait until a step has."""
    while not engine.stepping:
        await asyncio.sleep(0.001)
