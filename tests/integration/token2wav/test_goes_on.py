"""A spoken answer that goes on in another Token2Wav: nano's real engine, bit for bit."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from pathlib import Path

import numpy as np
import pytest_asyncio

from deployments.messages import (
    NextPart,
    SpeechDelta,
    SpeechRequest,
    ThinkerDelta,
    ThinkerRequest,
    Usage,
)
from deployments.resume import SpokenProgress, Tries
from deployments.spoken_answer.answer_aloud import answer_aloud
from deployments.stages import Synthesizer
from deployments.token2wav.deployment import build_synthesizer
from deployments.token2wav.token2wav_config import Token2WavConfig

NANO = Path("configs/nano")
TOKENS = 22  # of a part
DELTA = 4


@pytest_asyncio.fixture(scope="module")
async def replicas() -> AsyncGenerator[list[Synthesizer]]:
    config = Token2WavConfig(
        device="cpu", num_threads=1, voices={"low": str(NANO / "voices/low.wav")}
    )
    both = [build_synthesizer(str(NANO), config) for _ in range(2)]
    for one in both:
        await one.start()
    yield both
    for one in both:
        one.close()


async def think(request: ThinkerRequest) -> AsyncGenerator[ThinkerDelta]:
    """Tokens of a part that follow from its name; it goes on behind those that were made."""
    draw = np.random.default_rng(len(request.request_id))
    tokens = tuple(map(int, draw.integers(0, 6561, TOKENS)))
    for at in range(len(request.made), TOKENS, DELTA):
        piece = tokens[at : at + DELTA]
        yield ThinkerDelta(audio_tokens=piece, made=piece, offset=at)
    yield ThinkerDelta(finish_reason="stop", usage=Usage(1, TOKENS, TOKENS), offset=TOKENS)


def cuts(deltas: list[SpeechDelta]) -> Iterator[int]:
    """After the first sound, and before the end."""
    yield next(number for number, delta in enumerate(deltas, 1) if delta.pcm)
    yield len(deltas) - 1


async def test_the_sound_goes_on_bit_for_bit_in_another_replica(replicas) -> None:
    request = SpeechRequest(
        ThinkerRequest("a", (), reply="speech"),
        voice="low",
        then=(NextPart(ThinkerRequest("bb", (), reply="speech"), pause_s=0.3),),
    )
    async with aclosing(answer_aloud(request, replicas[0], think)) as spoken:
        whole = [delta async for delta in spoken]
    for cut in cuts(whole):
        progress = SpokenProgress(request, Tries(1))
        for delta in whole[:cut]:
            progress.accept(delta)
        assert progress.can_go_on
        async with aclosing(answer_aloud(progress.request(), replicas[1], think)) as spoken:
            rest = [delta async for delta in spoken]
        for delta in rest:
            progress.accept(delta)  # each begins where the one before it ended
        pcm = b"".join(delta.pcm for delta in [*whole[:cut], *rest])
        assert pcm == b"".join(delta.pcm for delta in whole)
        assert rest[-1].finish_reason == "stop"
        assert rest[-1].usage == whole[-1].usage
