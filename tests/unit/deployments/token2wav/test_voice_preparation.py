"""Voices are placed piece by piece in the thread of the steps: in virtual time, to the piece."""

import asyncio
from collections.abc import Callable, Generator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

from deployments.chunker import Chunk
from deployments.messages import ReferenceAudio
from deployments.token2wav.configured_voices import VoiceRecording
from deployments.token2wav.contract import StepInput, StepOutput
from deployments.token2wav.synthesizer import BatchingSynthesizer
from deployments.token2wav.token2wav_config import Token2WavConfig
from tests.unit.deployments.token2wav.virtual_time import run_virtually

T = TypeVar("T")
PIECES, PIECE_S, STEP_S = 11, 0.015, 0.02
LOOKAHEAD = 3
MOST_S = PIECE_S + STEP_S + 1e-9  # from a chunk to its sound, at the latest


class Engine:
    """Takes `PIECE_S` for each piece of a voice, and `STEP_S` for a step of any size."""

    codebook_size, lookahead, max_streams, rows_share_a_step = 10, LOOKAHEAD, 10, True

    def __init__(self) -> None:
        self.done: list[str] = []  # steps and pieces, in their order
        self.took_s = 0.0  # what was done since it was asked last

    def encode_voice(self, data: bytes) -> str:
        return data.decode()

    def place_voice(self, encoded: str) -> Generator[None, None, str]:
        for piece in range(PIECES):
            if piece:
                yield
            self._do(encoded, PIECE_S)
        return encoded

    def open(self, voice: str) -> str:
        return voice

    def close(self, state: str) -> None: ...

    def step(self, rows: Sequence[StepInput]) -> list[StepOutput]:
        self._do("step", STEP_S)
        return [StepOutput(bytes(960 * 2 * len(row.tokens)), row.state) for row in rows]

    def _do(self, what: str, took_s: float) -> None:
        self.done.append(what)
        self.took_s += took_s


class OneThread:
    """Calls wait for each other, and each takes the time that its engine says."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._thread = asyncio.Lock()  # fair, as the queue of a thread

    async def run(self, call: Callable[[], T]) -> T:
        async with self._thread:
            result = call()
            took_s, self._engine.took_s = self._engine.took_s, 0.0
            await asyncio.sleep(took_s)
            return result

    def close(self) -> None: ...


def placed_beside_a_listener(*voices: bytes) -> tuple[list[str], list[float]]:
    """Voices that come at one moment while someone's chunks come one after another.

    Returns:
        The steps and pieces from then on, until the voices are placed; how long each chunk took.
    """
    engine, took_s = Engine(), []

    async def listen(synthesizer: BatchingSynthesizer) -> None:
        now_s = asyncio.get_running_loop().time
        stream = await synthesizer.open(None)
        while True:
            began_s = now_s()
            await stream.synthesize(Chunk((1,) * (1 + LOOKAHEAD), last=False))
            took_s.append(now_s() - began_s)

    async def whole() -> None:
        synthesizer = BatchingSynthesizer(
            lambda: engine,
            {"default": VoiceRecording(Path("voice.wav"), b"default", seconds=6.0)},
            Token2WavConfig().schedule,
            max_batch=8,
            cached_voices=2,
            runner=lambda name: OneThread(engine),
            now_s=asyncio.get_running_loop().time,
        )
        await synthesizer.start()
        engine.done.clear()
        listening = asyncio.create_task(listen(synthesizer))
        await asyncio.gather(*(synthesizer.prepare(ReferenceAudio(v)) for v in voices))
        listening.cancel()
        synthesizer.close()

    run_virtually(whole())
    return engine.done, took_s


def test_steps_run_between_the_pieces_of_a_voice() -> None:
    done, _ = placed_beside_a_listener(b"new")
    assert done.count("new") == PIECES
    assert ("new", "new") not in pairwise(done)


def test_a_listener_waits_for_no_more_than_one_piece_of_all_voices_that_come() -> None:
    _, took_s = placed_beside_a_listener(b"new", b"other")
    assert len(took_s) >= 2 * PIECES
    assert max(took_s) <= MOST_S


def test_voices_are_placed_one_after_another() -> None:
    done, _ = placed_beside_a_listener(b"new", b"other")
    assert [what for what in done if what != "step"] == ["new"] * PIECES + ["other"] * PIECES
