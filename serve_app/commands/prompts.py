"""Many prompts through one graph at once: files in, texts and WAVs out."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from uuid import uuid4

import numpy as np

from deployments.audio_decoding import decode_audio
from deployments.errors import AnswerSilent, StepAudioError
from deployments.messages import (
    INPUT_SAMPLE_RATE_HZ,
    FinishReason,
    Message,
    SamplingOptions,
    SpeechDelta,
    SpeechRequest,
    ThinkerRequest,
)
from deployments.ray_failures import FULL, unwrap
from deployments.thinker import tasks
from deployments.thinker.speech_length import speech_length
from serve_app.commands.outputs import RESULTS, sound_name, text_name
from serve_app.graph.answers import Delta, complete
from serve_app.graph.backend import Backend
from serve_app.http.transcription.length import most_tokens
from serve_app.sound.encoding.pcm import seconds_of
from serve_app.sound.encoding.wav import wav_file
from serve_app.whole_files import LineLog, reason, write_whole

FULL_RETRY_S = 0.5


class ResultsNotWritten(StepAudioError):
    """`results.jsonl` cannot be written. The run ends, because its results would be lost."""


class QueryType(StrEnum):
    """What goes in and what comes out."""

    AUDIO_TO_TEXT = "audio_to_text"
    TEXT_TO_AUDIO = "text_to_audio"
    AUDIO_TO_AUDIO = "audio_to_audio"

    @property
    def listens(self) -> bool:
        return self is not QueryType.TEXT_TO_AUDIO

    @property
    def speaks(self) -> bool:
        return self is not QueryType.AUDIO_TO_TEXT


@dataclass(frozen=True, slots=True)
class Job:
    """One prompt; `source` is a recording's path or the text to speak."""

    index: int
    source: str


@dataclass(frozen=True, slots=True)
class Result:
    """How one job went, in the terms of the statistics."""

    index: int
    source: str
    error: str | None = None
    text: str = ""
    finish_reason: FinishReason | None = None  # `length`: cut at the token limit
    audio_s: float = 0.0
    ttfa_s: float | None = None  # to the first sound; to the first text where there is none
    total_s: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def cut(self) -> bool:
        """Whether the answer would have gone on."""
        return self.finish_reason == "length"


@dataclass(frozen=True, slots=True)
class PromptRun:
    """What all jobs of a run share."""

    query_type: QueryType
    output_dir: Path
    question: str | None = None
    max_tokens: int | None = None

    def request(self, job: Job) -> ThinkerRequest:
        """What the Thinker is asked; decodes the job's recording.

        A text to speak and a transcript have as many tokens as any voice should need, unless there
        is a limit; what the context cannot hold of a text is refused.

        Raises:
            OSError, AudioUnreadable: the recording.
        """
        needed = 1
        if self.query_type.listens:
            data = Path(job.source).read_bytes()
            samples, _ = decode_audio(data, INPUT_SAMPLE_RATE_HZ)
            messages, most = self._about(samples)
        else:
            length = speech_length(job.source)
            messages, most = tasks.speak(job.source), length.most
            needed = max(1, min(length.least, self.max_tokens or length.most))
        return ThinkerRequest(
            request_id=f"end2end-{job.index:05d}-{uuid4().hex}",
            messages=messages,
            reply="speech" if self.query_type.speaks else "text",
            sampling=SamplingOptions(
                temperature=0.0 if self._transcribes else None,  # one right transcript
                max_tokens=self.max_tokens or most,
            ),
            needed_tokens=needed,
        )

    @property
    def _transcribes(self) -> bool:
        return self.query_type is QueryType.AUDIO_TO_TEXT and self.question is None

    def _about(self, samples: np.ndarray) -> tuple[tuple[Message, ...], int | None]:
        """The prompt about [N] float32 at 16 kHz, and the most tokens of its answer, if known."""
        if self.question is not None:
            return tasks.ask(samples, self.question), None
        if self.query_type.speaks:
            return tasks.converse(samples), None
        return tasks.transcribe(samples), most_tokens(len(samples) / INPUT_SAMPLE_RATE_HZ)

    async def answer(self, job: Job, backend: Backend) -> Result:
        """Run one job and write its files; a failure is a result too."""
        begin = time.perf_counter()
        while True:
            try:
                return await self._answer(job, backend, begin)
            except Exception as raised:
                error = unwrap(raised)
            if not isinstance(error, FULL):
                took_s = time.perf_counter() - begin
                reason = f"{type(error).__name__}: {error}"
                return Result(job.index, job.source, error=reason, total_s=took_s)
            await asyncio.sleep(FULL_RETRY_S)  # this can wait, and loses no prompt

    async def _answer(self, job: Job, backend: Backend, begin: float) -> Result:
        request = await asyncio.to_thread(self.request, job)
        speaks = self.query_type.speaks
        deltas: AsyncGenerator[Delta]
        if speaks:
            deltas = complete(backend.speech(SpeechRequest(request, streamed=False)))
        else:
            deltas = complete(backend.text(request))
        text, pcm, usage, first_s = "", bytearray(), None, None
        finish_reason: FinishReason | None = None
        async with aclosing(deltas):
            async for delta in deltas:
                text += delta.text
                sound = delta.pcm if isinstance(delta, SpeechDelta) else b""
                pcm += sound
                usage = delta.usage or usage
                finish_reason = delta.finish_reason
                if first_s is None and (sound if speaks else delta.text):
                    first_s = time.perf_counter() - begin
        if speaks and not pcm:
            raise AnswerSilent("this prompt")
        await asyncio.to_thread(self._write, job, text, bytes(pcm))
        return Result(
            job.index,
            job.source,
            text=text,
            finish_reason=finish_reason,
            audio_s=seconds_of(len(pcm)),
            ttfa_s=first_s,
            total_s=time.perf_counter() - begin,
            prompt_tokens=usage.prompt_tokens if usage else 0,
            completion_tokens=usage.completion_tokens if usage else 0,
        )

    def _write(self, job: Job, text: str, pcm: bytes) -> None:
        """Each file is there whole or not at all; the text comes last.

        Raises:
            OSError: the disk is full, or the folder is gone.
        """
        if self.query_type.speaks:
            write_whole(self.output_dir / sound_name(job.index), wav_file(pcm))
        write_whole(self.output_dir / text_name(job.index), (text + "\n").encode())


async def run_prompts(
    run: PromptRun,
    jobs: Iterable[Job],
    backend: Backend,
    *,
    concurrency: int,
    on_result: Callable[[Result], None],
) -> list[Result]:
    """Run all jobs, `concurrency` of them at a time; gives the results in the jobs' order.

    `results.jsonl` in the output folder says which source each number came from. A job's files and
    its line are on disk before the next job of the same worker begins.

    Raises:
        ResultsNotWritten: `results.jsonl` is there already, or the disk is full.
    """
    path = run.output_dir / RESULTS
    waiting = iter(jobs)
    results: list[Result] = []
    try:
        run.output_dir.mkdir(parents=True, exist_ok=True)
        with LineLog(path) as log:

            def take(result: Result) -> None:
                log.add(json_line(result))
                results.append(result)
                on_result(result)

            async with asyncio.TaskGroup() as group:
                for _ in range(concurrency):
                    group.create_task(_work(run, waiting, backend, take))
    except* OSError as failed:
        error = unwrap(failed)
        why = reason(error) if isinstance(error, OSError) else str(error)
        message = f"{path} cannot be written after {len(results)} results: {why}"
        raise ResultsNotWritten(message) from failed
    return sorted(results, key=lambda result: result.index)


def json_line(result: Result) -> bytes:
    """A result as JSON. A path that is no Unicode is written in JSON's own escapes."""
    return json.dumps(asdict(result), ensure_ascii=False).encode("utf-8", "backslashreplace")


async def _work(
    run: PromptRun, waiting: Iterator[Job], backend: Backend, take: Callable[[Result], None]
) -> None:
    for job in waiting:
        take(await run.answer(job, backend))
