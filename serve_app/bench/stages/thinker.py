"""`bench thinker`: token rates of the Thinker's engine, without Token2Wav.

Every batch starts all its requests at once. With `forced` weights that are random speak for
exactly the wanted number of tokens, so the load is that of a real answer.
"""

import asyncio
import itertools
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from deployments.chunker import ChunkSchedule
from deployments.messages import AUDIO_TOKENS_PER_SECOND, Message, SamplingOptions, ThinkerRequest
from deployments.stages import ThinkerEngine
from deployments.thinker import tasks
from serve_app.bench.inputs import TEXTS, synthetic_speech
from serve_app.bench.measures import Percentiles, percentiles

FORCED_SPEECH = "serve_app.bench.forced_speech:ForcedSpeech"


@dataclass(frozen=True, slots=True)
class ThinkerFigures:
    """One batch of requests that began together."""

    requests: int
    tokens_each: float  # mean; as asked for where answers are forced
    first_chunk_s: Percentiles  # until the audio tokens of the first chunk are there
    latency_s: Percentiles
    ms_per_token: float  # of one request, from its first chunk on; the engine's step time
    tokens_per_s: float  # of all requests together
    audio_s: float


@dataclass(frozen=True, slots=True)
class _Answer:
    first_s: float
    first_tokens: int
    end_s: float
    tokens: int
    audio_tokens: int


async def measure_thinker(
    engine: ThinkerEngine,
    requests: int,
    tokens: int,
    *,
    chunks: ChunkSchedule | None = None,
    audio_seconds: float = 0.0,
    salt: str = "",
) -> ThinkerFigures:
    """Run `requests` spoken answers of `tokens` at once through a started engine.

    `audio_seconds` of synthetic speech are the question, or a text where it is 0. No two prompts
    are alike, and `salt` keeps those of several runs apart: only the task's own words are cached.
    """
    prompts = list(itertools.islice(_prompts(audio_seconds, salt), requests))
    schedule = chunks or ChunkSchedule()
    started_s = time.perf_counter()
    answers = await asyncio.gather(
        *(
            _answer(
                engine,
                ThinkerRequest(
                    f"bench-{salt}-{i}",
                    messages,
                    reply="speech",
                    sampling=SamplingOptions(max_tokens=tokens),
                    chunks=schedule,
                ),
            )
            for i, messages in enumerate(prompts)
        )
    )
    return _figures(answers, started_s)


async def _answer(engine: ThinkerEngine, request: ThinkerRequest) -> _Answer:
    first_s, first_tokens, tokens, audio_tokens = 0.0, 0, 0, 0
    async with aclosing(engine.generate(request)) as deltas:
        async for delta in deltas:
            tokens += len(delta.token_ids)
            audio_tokens += len(delta.audio_tokens)
            if not first_tokens and audio_tokens:
                first_s, first_tokens = time.perf_counter(), tokens
    return _Answer(first_s, first_tokens, time.perf_counter(), tokens, audio_tokens)


def _figures(answers: Sequence[_Answer], started_s: float) -> ThinkerFigures:
    """Raises ValueError where an answer had no audio: without forced speech that may happen."""
    if not all(answer.first_tokens for answer in answers):
        raise ValueError("an answer had no audio tokens; random weights need --forced")
    first = percentiles(answer.first_s - started_s for answer in answers)
    latency = percentiles(answer.end_s - started_s for answer in answers)
    assert first is not None and latency is not None  # at least one request
    all_tokens = sum(answer.tokens for answer in answers)
    rest = [answer for answer in answers if answer.tokens > answer.first_tokens]
    paces = [(a.end_s - a.first_s) / (a.tokens - a.first_tokens) for a in rest]
    return ThinkerFigures(
        requests=len(answers),
        tokens_each=all_tokens / len(answers),
        first_chunk_s=first,
        latency_s=latency,
        ms_per_token=1000 * sum(paces) / len(paces) if paces else float("nan"),
        tokens_per_s=all_tokens / latency.max,
        audio_s=sum(answer.audio_tokens for answer in answers) / AUDIO_TOKENS_PER_SECOND,
    )


def _prompts(audio_seconds: float, salt: str) -> Iterator[tuple[Message, ...]]:
    for i in itertools.count():
        if audio_seconds:
            seed = zlib.crc32(f"{salt}{i}".encode())
            yield tasks.converse(synthetic_speech(audio_seconds, seed))
        else:
            yield tasks.speak(f"{salt}{i}. {TEXTS[i % len(TEXTS)]}")
