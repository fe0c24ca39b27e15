"""Few listeners hear their answers sooner, and nobody hears a gap for it.

In virtual time, with the steps and the tokens of an H200 that few use (tests/benchmarks/README.md).
"""

import asyncio
import random
from dataclasses import dataclass, field
from itertools import accumulate, islice

import pytest

from deployments.chunker import Chunk, ChunkSchedule
from deployments.messages import OUTPUT_SAMPLE_RATE_HZ
from deployments.token2wav.admission import Admission
from deployments.token2wav.synthesizer import BatchingSynthesizer
from deployments.token2wav.token2wav_config import GPU_QUIET_STREAMS, Token2WavConfig
from tests.unit.deployments.token2wav.test_overload import CHUNKS, LOOKAHEAD, Engine, run, step_s

FIRST_TOKEN_S = 0.022
CLOCK_S = 1e-9  # of the virtual clock: sums of times are not exact
TOKEN_S = {1: 0.0060, 4: 0.0063, 8: 0.0066, 16: 0.0068, 64: 0.0072}  # by streams, of an audio token
QUIET = Token2WavConfig(quiet={"streams": GPU_QUIET_STREAMS})


@dataclass
class Heard:
    first_sound_s: list[float] = field(default_factory=list)
    gaps_s: list[float] = field(default_factory=list)


def arrivals_s(planned: ChunkSchedule, streams: int) -> list[tuple[int, float]]:
    """How many tokens have come after what time: the Thinker sends as the planned chunks need."""
    token_s = next(pace for most, pace in TOKEN_S.items() if streams <= most)
    sums = islice(accumulate(planned.sizes()), CHUNKS + 1)
    return [(end + LOOKAHEAD, FIRST_TOKEN_S + (end + LOOKAHEAD) * token_s) for end in sums]


async def listen(synthesizer: BatchingSynthesizer, heard: Heard, after_s: float) -> None:
    """One who comes `after_s`, and plays what is sent from the first sound on."""
    now_s = asyncio.get_running_loop().time
    await asyncio.sleep(after_s)
    opened_at_s = now_s()
    stream = await synthesizer.open(None)
    came = arrivals_s(stream.schedule, synthesizer.open_streams)
    await asyncio.sleep(opened_at_s + came[0][1] - now_s())
    settled = stream.settle_schedule()
    plays_until_s = 0.0
    for size, end in islice(
        zip(settled.sizes(), accumulate(settled.sizes()), strict=False), CHUNKS
    ):
        at_s = next(after for tokens, after in came if tokens >= end + LOOKAHEAD)
        await asyncio.sleep(max(0.0, opened_at_s + at_s - now_s()))
        pcm = await stream.synthesize(Chunk((1,) * (size + LOOKAHEAD), last=False))
        if not plays_until_s:
            heard.first_sound_s.append(now_s() - opened_at_s)
        elif now_s() > plays_until_s + CLOCK_S:
            heard.gaps_s.append(now_s() - plays_until_s)
        plays_until_s = max(plays_until_s, now_s()) + len(pcm) / 2 / OUTPUT_SAMPLE_RATE_HZ
    stream.close()


def heard_by(after_s: list[float], config: Token2WavConfig = QUIET) -> Heard:
    heard = Heard()

    async def serve(synthesizer: BatchingSynthesizer) -> None:
        await asyncio.gather(*(listen(synthesizer, heard, after) for after in after_s))

    run(Engine(), Admission, serve, config)
    return heard


def test_one_listener_hears_the_first_sound_four_tokens_sooner():
    (usual_s,), (quiet_s,) = (
        heard_by([0.0], config).first_sound_s for config in (Token2WavConfig(), QUIET)
    )
    assert usual_s - quiet_s == pytest.approx(4 * TOKEN_S[1])
    assert quiet_s == pytest.approx(FIRST_TOKEN_S + 8 * TOKEN_S[1] + step_s(1), abs=1e-3)


@pytest.mark.parametrize("listeners", [2, 3, 4, 6, 8, 16, 32, 64])
def test_answers_that_begin_at_one_moment_have_no_gap(listeners: int):
    assert heard_by([0.0] * listeners).gaps_s == []


@pytest.mark.parametrize("listeners", [2, 4, 6, 8, 16])
@pytest.mark.parametrize("seed", range(10))
def test_answers_that_begin_at_any_moment_have_none_either(listeners: int, seed: int):
    draw = random.Random(seed)
    within_s = draw.choice([0.03, 0.1, 0.3, 1.0])
    heard = heard_by([draw.uniform(0, within_s) for _ in range(listeners)])
    assert heard.gaps_s == []


def test_a_first_chunk_does_not_become_smaller_when_others_leave():
    async def serve(synthesizer: BatchingSynthesizer) -> None:
        others = [await synthesizer.open(None) for _ in range(GPU_QUIET_STREAMS)]
        stream = await synthesizer.open(None)
        for other in others:
            other.close()
        assert stream.settle_schedule().ramp == QUIET.chunks.ramp
        stream.close()

    run(Engine(), Admission, serve, QUIET)
