"""What nano can do, measured through the served HTTP API with OpenAI's client.

The sentences are held out: no training sentence has the same words.
"""

import asyncio
import base64
import io
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import httpx
import numpy as np
import soundfile
from openai import AsyncOpenAI
from rich.console import Console

from deployments.audio_decoding import decode_audio, resample
from serve_app.commands.demo import server, wait_until_ready
from serve_app.commands.word_error_rate import word_error_rate
from tests.nano.recogniser import SentencePicker
from tests.nano.recordings import Recording, kept
from tests.nano.sizes import SPEECH_RATE_HZ

_T = TypeVar("_T")
_CONCURRENCY = 4
# A server that would stutter with one stream more says 429, and when to come again.
RETRIES = 30
_ALONE = 4
VOICES = ("low", "high")


@dataclass(frozen=True, slots=True)
class Spoken:
    """A sentence, spoken by the server."""

    sentence: str
    voice: str
    wav: bytes
    said: str  # its own transcription
    picked: str | None  # what the independent recogniser took it for


@dataclass(frozen=True)
class Report:
    """Shares and rates are 0 … 1."""

    transcriptions: list[tuple[str, str]]  # sentence, transcription
    spoken: list[Spoken]
    repeated: list[tuple[str, str]]  # sentence heard, transcription of the spoken answer
    seconds: dict[str, float]  # of each part of the evaluation
    audio_s: float  # of the speech made, several requests at once
    alone_rtf: float  # of a single request

    def figures(self) -> dict[str, float]:
        """The figures that the model card states."""
        spoken = [(s.sentence, s.said) for s in self.spoken]
        right = [s.picked == s.sentence for s in self.spoken]
        return {
            "sentences": len(self.transcriptions),
            "transcription_wer": _wer(self.transcriptions),
            "speech_wer": _wer(spoken),
            "picked_by_pocketsphinx": sum(right) / len(right),
            "repeat_wer": _wer(self.repeated),
            "speech_audio_s": round(self.audio_s, 1),
            "speech_s_per_audio_s": round(self.seconds["speak"] / self.audio_s, 3),
            "alone_rtf": round(self.alone_rtf, 3),
        }

    def mistakes(self) -> list[tuple[str, str]]:
        """Sentences and what became of them, where they differ, for a person to read."""
        spoken = [(s.sentence, f"[{s.voice}] {s.said}") for s in self.spoken if _differ(s)]
        heard = [pair for pair in self.transcriptions if _wer([pair])]
        return heard + spoken

    def as_json(self) -> dict[str, object]:
        spoken = [{k: v for k, v in asdict(s).items() if k != "wav"} for s in self.spoken]
        return {
            "figures": self.figures(),
            "seconds": self.seconds,
            "transcriptions": self.transcriptions,
            "spoken": spoken,
            "repeated": self.repeated,
        }


def main(config: Path, report: Path) -> None:
    """Serve `config`, measure all that is kept, and write the JSON `report`."""
    console = Console()
    with server(config, report.with_suffix(".log"), console) as (url, check):
        with httpx.Client(base_url=url) as http:
            wait_until_ready(http, 600, check, console)
        measured = asyncio.run(_measure(url))
    for sentence, became in measured.mistakes():
        print(f"{sentence!r} became {became!r}")
    for name, value in measured.figures().items():
        print(name, value)
    report.write_text(json.dumps(measured.as_json(), indent=1) + "\n", encoding="utf-8")


async def _measure(url: str) -> "Report":
    client = AsyncOpenAI(base_url=f"{url}/v1", api_key="none", timeout=300, max_retries=RETRIES)
    model = (await client.models.list()).data[0].id
    return await evaluate(client, model, kept(), VOICES, repeats=50)


async def evaluate(
    client: AsyncOpenAI,
    model: str,
    recordings: Sequence[Recording],
    voices: Sequence[str],
    *,
    repeats: int,
) -> Report:
    """Transcribe every recording, speak every sentence and hear it again, repeat `repeats`.

    Sentences are spoken by the voices in turn. PocketSphinx chooses among all that are kept.
    """
    sentences = [recording.sentence for recording in recordings]
    seconds: dict[str, float] = {}

    async def timed(name: str, tasks: Sequence[Callable[[], Awaitable[_T]]]) -> list[_T]:
        begin = time.perf_counter()
        results = await _few_at_once(tasks)
        seconds[name] = round(time.perf_counter() - begin, 1)
        return results

    heard = await timed(
        "transcribe", [lambda r=r: transcribe(client, model, r.wav) for r in recordings]
    )
    alone_rtf = await _rtf(client, model, sentences[:_ALONE], voices[0])
    chosen = [voices[index % len(voices)] for index in range(len(sentences))]
    wavs = await timed(
        "speak",
        [
            lambda s=s, v=v: speak(client, model, s, v)
            for s, v in zip(sentences, chosen, strict=True)
        ],
    )
    said = await timed("hear", [lambda w=w: transcribe(client, model, w) for w in wavs])
    begin = time.perf_counter()
    picker = SentencePicker([recording.sentence for recording in kept()])
    picked = [picker.pick(speech_of(wav)) for wav in wavs]
    seconds["pick"] = round(time.perf_counter() - begin, 1)
    some = recordings[:repeats]
    answers = await timed(
        "repeat", [lambda r=r: repeat(client, model, r.wav, voices[-1]) for r in some]
    )
    again = await timed("hear repeats", [lambda w=w: transcribe(client, model, w) for w in answers])
    return Report(
        transcriptions=list(zip(sentences, heard, strict=True)),
        spoken=[
            Spoken(*parts) for parts in zip(sentences, chosen, wavs, said, picked, strict=True)
        ],
        repeated=[(r.sentence, text) for r, text in zip(some, again, strict=True)],
        seconds=seconds,
        audio_s=sum(map(_duration_s, wavs)),
        alone_rtf=alone_rtf,
    )


async def transcribe(client: AsyncOpenAI, model: str, wav: bytes) -> str:
    """What the server hears."""
    answer = await client.audio.transcriptions.create(model=model, file=("speech.wav", wav))
    return answer.text


async def speak(client: AsyncOpenAI, model: str, text: str, voice: str) -> bytes:
    """A WAV of the text in a voice."""
    answer = await client.audio.speech.create(
        model=model, voice=voice, input=text, response_format="wav"
    )
    return answer.read()


async def repeat(client: AsyncOpenAI, model: str, wav: bytes, voice: str) -> bytes:
    """The spoken answer to a recording, as a WAV."""
    data = base64.b64encode(wav).decode()
    answer = await client.chat.completions.create(
        model=model,
        modalities=["text", "audio"],
        audio={"voice": voice, "format": "wav"},
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
                ],
            }
        ],
    )
    audio = answer.choices[0].message.audio
    if audio is None:
        raise ValueError("the answer has no sound")
    return base64.b64decode(audio.data)


async def _rtf(client: AsyncOpenAI, model: str, texts: Sequence[str], voice: str) -> float:
    """Seconds of synthesis a second of sound, one request after the other."""
    begin = time.perf_counter()
    wavs = [await speak(client, model, text, voice) for text in texts]
    return (time.perf_counter() - begin) / sum(map(_duration_s, wavs))


def _duration_s(wav: bytes) -> float:
    return float(soundfile.info(io.BytesIO(wav)).duration)


def speech_of(wav: bytes) -> np.ndarray:
    """[N] float32 at 16 kHz."""
    samples, rate_hz = decode_audio(wav)
    return resample(samples, rate_hz, SPEECH_RATE_HZ)


async def _few_at_once(tasks: Sequence[Callable[[], Awaitable[_T]]]) -> list[_T]:
    free = asyncio.Semaphore(_CONCURRENCY)

    async def run(task: Callable[[], Awaitable[_T]]) -> _T:
        async with free:
            return await task()

    return await asyncio.gather(*map(run, tasks))


def _wer(pairs: Sequence[tuple[str, str]]) -> float:
    references, hypotheses = zip(*pairs, strict=True)
    return round(word_error_rate(references, hypotheses), 4)


def _differ(spoken: Spoken) -> bool:
    return bool(_wer([(spoken.sentence, spoken.said)])) or spoken.picked != spoken.sentence
