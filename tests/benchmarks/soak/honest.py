"""What honest clients of a soak ask, and whether the answers are right."""

import asyncio
import base64
import io
import random
import wave
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

import httpx
import numpy as np

from deployments.audio_decoding import decode_audio
from deployments.errors import AudioUnreadable
from tests.benchmarks.hostile_clients import MIN_PEAK, HonestSound, text_problem
from tests.benchmarks.soak.outcomes import Outcome, Tally
from tests.benchmarks.soak.target import Target, aloud, user

TRANSCRIPTION, CHAT, SPEECH = "transcription", "chat", "speech"
FORMATS: Final = ("mp3", "opus", "aac", "flac", "wav", "pcm")
PCM_RATE_HZ = 24_000
MAX_ALOUD_TOKENS = 200  # 6 s of speech: nano does not know when to end with a history
TRIES = 20  # of a request that is refused since the server is full
FULL = 429
Ask = Callable[["HonestClient"], Coroutine[None, None, None]]


@dataclass(frozen=True, slots=True)
class HonestClient:
    """Sends recordings and texts that are known, and notes what comes back."""

    target: Target
    sounds: tuple[HonestSound, ...]
    tally: Tally
    draw: random.Random

    async def ask(self) -> None:
        """One question, or one conversation."""
        (ask,) = self.draw.choices([ask for ask, _ in ASKS], [often for _, often in ASKS])
        try:
            await ask(self)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            name = f"unreadable, {ask.__name__}"
            self.tally.add(Outcome(name, httpx.codes.OK, f"{type(error).__name__}: {error}"))

    async def transcribe(self) -> None:
        sound = self.draw.choice(self.sounds)
        answer = await self._answered(
            "honest transcription", lambda: self.target.transcribe(sound.wav)
        )
        if answer is not None:
            self._hear(TRANSCRIPTION, sound.sentence, answer.json()["text"])

    async def chat(self) -> None:
        """nano answers a text with the same words."""
        text = self.draw.choice(self.sounds).sentence or "Yes."
        message = {"role": "user", "content": text}
        answer = await self._answered("honest chat", lambda: self.target.chat(message))
        if answer is not None:
            self._hear(CHAT, text, answer.json()["choices"][0]["message"]["content"])

    async def speak(self) -> None:
        """A text is spoken, and heard again by the same server."""
        text = self.draw.choice(self.sounds).sentence or "Yes."
        form, voice = self.draw.choice(FORMATS), self.draw.choice(self.target.voices)
        name = f"honest speech, {form}"
        how = {"response_format": form, "seed": self.draw.randrange(1000)}
        answer = await self._answered(name, lambda: self.target.speak(text, voice, **how))
        if answer is None:
            return
        wav = as_wav(answer.content) if form == "pcm" else answer.content
        if not self._sounds(name, wav, text):
            return
        heard = await self._answered(f"{name}, heard", lambda: self.target.transcribe(wav))
        if heard is not None:
            self._hear(SPEECH, text, heard.json()["text"])

    async def talk(self) -> None:
        """Two spoken turns; the second names the first by its id."""
        first, second = (user(self.draw.choice(self.sounds).wav) for _ in range(2))
        spoken = aloud(self.draw.choice(self.target.voices)) | {
            "max_completion_tokens": MAX_ALOUD_TOKENS
        }
        audio = await self._turn("honest spoken turn", spoken, first)
        if audio is None:
            return
        said = {"role": "assistant", "audio": {"id": audio["id"]}}
        await self._turn("honest second turn", spoken, first, said, second)

    async def _turn(self, name: str, spoken: dict[str, Any], *messages: Any) -> Any:
        answer = await self._answered(name, lambda: self.target.chat(*messages, **spoken))
        if answer is None:
            return None
        audio = answer.json()["choices"][0]["message"]["audio"]
        if not self._sounds(name, base64.b64decode(audio["data"]), audio["transcript"]):
            return None
        return audio

    async def _answered(
        self, name: str, send: Callable[[], Awaitable[httpx.Response]]
    ) -> httpx.Response | None:
        """The answer with status 200. A server that is full is asked again, as it says."""
        for _ in range(TRIES):
            try:
                answer = await send()
            except httpx.HTTPError as error:
                self.tally.add(Outcome(name, 0, f"{type(error).__name__}: {error}"))
                return None
            if answer.status_code == httpx.codes.OK:
                self.tally.add(Outcome(name, answer.status_code))
                return answer
            wrong = None if answer.status_code == FULL else answer.text
            self.tally.add(Outcome(name, answer.status_code, wrong, str(answer.headers)))
            if wrong is not None:
                return None
            await asyncio.sleep(float(answer.headers["retry-after"]))
        return None

    def _hear(self, kind: str, sentence: str | None, words: str) -> None:
        if problem := text_problem(words):
            self.tally.add(Outcome(f"nonsense of a {kind}", 200, problem, sentence or ""))
        if sentence is not None:
            self.tally.hear(kind, sentence, words)

    def _sounds(self, name: str, file: bytes, of: str) -> bool:
        if problem := sound_problem(file):
            self.tally.add(Outcome(f"{name}, no sound", 200, problem, of))
        return problem is None


ASKS: tuple[tuple[Ask, float], ...] = (
    (HonestClient.transcribe, 4),
    (HonestClient.chat, 2),
    (HonestClient.speak, 2),
    (HonestClient.talk, 1),
)
"""Each with how often it is asked."""


def as_wav(pcm: bytes) -> bytes:
    """Raw speech of the server as a file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(PCM_RATE_HZ)
        out.writeframes(pcm)
    return file.getvalue()


def sound_problem(file: bytes) -> str | None:
    """Why a spoken answer, in any format, is none."""
    try:
        samples, _ = decode_audio(file)
    except AudioUnreadable as error:
        return str(error)
    return "silence" if np.abs(samples).max() < MIN_PEAK else None
