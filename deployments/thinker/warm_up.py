"""What the engine runs before it is ready, so that no request is the first to meet a kernel."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

import numpy as np

from deployments.messages import INPUT_SAMPLE_RATE_HZ, SamplingOptions, ThinkerRequest
from deployments.thinker import tasks
from deployments.thinker.prompt import Prompt, PromptBuilder
from deployments.thinker.prompt_runner import PromptRunner

SAMPLING = SamplingOptions(temperature=0.7, top_p=0.9, repetition_penalty=1.05, max_tokens=4)
GREEDY = SamplingOptions(temperature=0.0, max_tokens=4)
# Triton's top-p kernels of vLLM 0.26 to 0.32 change at 8 rows and above 64, and where 16 divides
# the rows; no other kernel changes later.
ROWS = 80
GROWTH = 1.25  # from one prompt's length to the next: a matrix product has few kernels for them
RECORDINGS_S = (1, 2, 4, 8, 16, 25)
RECORDINGS_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Exercise:
    """A prompt, and the exact number of tokens of its answer, whatever the model says."""

    prompt: Prompt
    sampling: SamplingOptions
    tokens: int


def requests() -> tuple[ThinkerRequest, ...]:
    """One of each kind, as they come: text, a recording, an answer aloud."""
    return (
        ThinkerRequest("warm-up", tasks.converse("hello"), sampling=SAMPLING),
        ThinkerRequest("warm-up-audio", tasks.transcribe(_hum(1)), sampling=GREEDY),
        ThinkerRequest("warm-up-speech", tasks.speak("hello"), "speech", SAMPLING),
    )


def batches(prompts: PromptBuilder, rows: int, longest: int) -> Iterator[list[Exercise]]:
    """For a GPU: exercises that begin together, one batch after another.

    Args:
        rows: sequences that the engine runs at once.
        longest: tokens of the longest prompt that it reads in one step.
    """
    short = prompts.build(tasks.speak("hello"), "speech")
    # vLLM's own warm-up knows top-p only beside top-k, so the first 8 requests at once would wait
    # seconds for the kernel of top-p alone. Where FlashInfer samples, it leaves batches in which
    # one row has a seed to those kernels. Answers of 1, 2, … tokens: batches of every size.
    for seed in (None, 0):
        sampling = replace(SAMPLING, seed=seed)
        yield [Exercise(short, sampling, tokens + 1) for tokens in range(min(ROWS, rows))]
    # Steps larger than any CUDA graph load their kernels at first use: 30 ms on an H200.
    for number, length in enumerate(_lengths(short.length, longest)):
        yield [Exercise(_lengthened(short, length, number), GREEDY, 1)]
    for seconds in RECORDINGS_S:
        for count in (1, RECORDINGS_AT_ONCE):
            heard = [
                prompts.build(tasks.transcribe(_hum(seconds, i)), "text") for i in range(count)
            ]
            yield [Exercise(prompt, GREEDY, 1) for prompt in heard if prompt.length <= longest]


async def exercise(runner: PromptRunner, batch: Sequence[Exercise]) -> None:
    """Run the exercises of a batch at once."""
    await asyncio.gather(*(_run(runner, one) for one in batch))


async def _run(runner: PromptRunner, exercise: Exercise) -> None:
    parameters = runner.sampling(exercise.sampling, exercise.tokens)
    parameters.stop_token_ids, parameters.ignore_eos = [], True
    async with aclosing(runner.run(exercise.prompt, parameters)) as outputs:
        async for _ in outputs:
            pass


def _lengths(shortest: int, longest: int) -> Iterator[int]:
    length = float(shortest)
    while length < longest:
        yield int(length)
        length *= GROWTH
    yield longest


def _lengthened(prompt: Prompt, length: int, token_id: int) -> Prompt:
    """`prompt` after copies of one token. Another token makes sure that nothing of it is cached."""
    filling = [token_id] * (length - prompt.length)
    return Prompt(filling + prompt.token_ids, prompt.audio_pieces)


def _hum(seconds: int, number: int = 0) -> np.ndarray:
    """A recording that is like no other: [seconds · 16 000] float32, nearly silent."""
    return np.full(seconds * INPUT_SAMPLE_RATE_HZ, 1e-4 * number, dtype=np.float32)
