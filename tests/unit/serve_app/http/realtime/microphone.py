"""What clients say: tones and silence, and models that take every loud frame for speech."""

import base64

import numpy as np

from serve_app.http.realtime.turn_models import TurnModels
from serve_app.sound import telephony
from serve_app.sound.turns import Listener, TurnJudge, TurnRule
from tests.integration.http.conftest import Graph
from tests.unit.serve_app.http.realtime.client import Client, Json

RATE_HZ = 24_000
FRAME_SAMPLES = 512  # at 16 kHz
LOUD = 0.05


class LoudIsSpeech:
    """In place of `VoiceActivity`."""

    async def probabilities(self, stream: object, samples: np.ndarray) -> list[float]:
        frames = samples.reshape(-1, FRAME_SAMPLES)
        return [float(np.sqrt((frame**2).mean()) > LOUD) for frame in frames]


class Judge:
    """In place of `TurnJudge`: every turn sounds complete, or none."""

    def __init__(self, complete: float) -> None:
        self._complete = complete

    async def complete(self, samples: np.ndarray) -> float:
        return self._complete


class LoudEars(TurnModels):
    """Needs no models."""

    def __init__(self, complete: float = 1.0) -> None:
        super().__init__()
        self._complete = complete

    async def listener(self, rule: TurnRule | None) -> Listener:
        judge: TurnJudge = Judge(self._complete)  # type: ignore[assignment]
        return Listener(rule, LoudIsSpeech(), judge)  # type: ignore[arg-type]


def hears_loud_sounds(graph: Graph, complete: float = 1.0) -> Graph:
    graph.app.state.turn_models = LoudEars(complete)
    return graph


def tone(seconds: float, rate_hz: int = RATE_HZ) -> np.ndarray:
    """[N] int16."""
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    return (8000 * np.sin(2 * np.pi * 440 * time)).astype(np.int16)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE_HZ), np.int16)


def as_audio(samples: np.ndarray) -> str:
    return base64.b64encode(samples.astype("<i2").tobytes()).decode()


async def speak(client: Client, *sounds: np.ndarray, piece_s: float = 0.1) -> None:
    """Append sounds in pieces as a microphone gives them."""
    samples = np.concatenate(sounds)
    step = round(piece_s * RATE_HZ)
    for start in range(0, len(samples), step):
        audio = as_audio(samples[start : start + step])
        await client.send("input_audio_buffer.append", audio=audio)


def on_the_phone(samples: np.ndarray, law: telephony.Law) -> str:
    return base64.b64encode(telephony.encoded(samples, law)).decode()


async def take_turns_by_hand(client: Client, **audio_input: object) -> Json:
    return await client.update(audio={"input": {"turn_detection": None, **audio_input}})
