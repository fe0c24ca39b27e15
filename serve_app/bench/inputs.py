"""What is said to the server: everyday sentences and recordings, drawn in a seeded order."""

import base64
import io
import random
import wave
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deployments.messages import INPUT_SAMPLE_RATE_HZ

SHORT = (
    "Good morning, how can I help you?",
    "The train leaves at nine.",
    "Your table is ready.",
    "Please turn left at the corner.",
    "早上好,今天过得怎么样?",
    "您的快递已经到楼下了。",
    "请稍等,我马上查一下。",
    "明天下午三点见。",
)
MEDIUM = (
    "The weather will stay dry until the evening, then expect light rain and a cooler night.",
    "I have moved your appointment to Thursday at half past ten; you will get a message shortly.",
    "If you take the second exit, the museum is on your right, just behind the old post office.",
    "Add the onions first, let them soften for five minutes, and only then pour in the stock.",
    "今天的会议改到下午四点,地点在三楼的小会议室,请大家提前十分钟到。",
    "这道菜的关键是火候,先用大火把水烧开,再转小火慢慢炖半个小时。",
    "从这里坐地铁二号线,过四站换乘一号线,出站以后往北走五分钟就到了。",
    "他小时候住在海边,每到夏天,总是和朋友们一起去沙滩上捡贝壳。",
)
LONG = (
    "When my grandmother moved to the city, she brought nothing but a suitcase and a sewing "
    "machine. She rented a small room above a bakery, and every morning the smell of fresh bread "
    "came up through the floor. Within a year she knew every neighbour by name, and most of them "
    "wore something that she had mended.",
    "To reset the device, hold the button on the back for ten seconds until the light turns "
    "orange. Release it, wait for the light to blink twice, and open the application on your "
    "phone. Choose your network from the list, type the password, and keep the phone close to "
    "the device until you hear a short tone.",
    "很久以前,山脚下有一个小村子,村里的人每天都要走很远的路去打水。有一年春天,"
    "几个年轻人决定挖一条水渠,把山上的泉水引下来。他们挖了整整三个月,"
    "手上都磨出了茧子。水流进村子的那天,所有的人都跑出来看,孩子们在水边笑着跳着。",
    "健康的生活其实并不复杂。早睡早起,按时吃饭,多喝水,少熬夜,每天走上半个小时,"
    "周末约上朋友去公园打打球。坚持几个月以后,你会发现自己的精神好了很多,"
    "工作起来也更有劲头,就连心情都会变得轻松。",
)
TEXTS = SHORT + MEDIUM + LONG
SYNTHETIC_SECONDS = (2.0, 4.0, 8.0)


@dataclass(frozen=True, slots=True)
class TextInput:
    """A text to speak."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class SpeechInput:
    """A recording to answer aloud."""

    name: str
    format: str  # `wav` or `mp3`, as OpenAI's `input_audio` has it
    base64: str


Input = TextInput | SpeechInput


def texts(extra: Sequence[str] = ()) -> list[TextInput]:
    """The texts of the benchmark, or `extra` in their place."""
    chosen = extra or TEXTS
    return [TextInput(f"text-{i} ({len(text)} characters)", text) for i, text in enumerate(chosen)]


def recordings(paths: Sequence[Path], seed: int) -> list[SpeechInput]:
    """The recordings at `paths`, or synthetic ones where none are given."""
    if not paths:
        return [
            _recording(f"synthetic-{s:g}s", synthetic_wav(s, seed + i))
            for i, s in enumerate(SYNTHETIC_SECONDS)
        ]
    return [_recording(path.name, path.read_bytes(), path.suffix) for path in paths]


def mix(
    spoken: Sequence[TextInput], heard: Sequence[SpeechInput], speech_share: float, seed: int
) -> Iterator[Input]:
    """Inputs without end; `speech_share` of them recordings. The same seed, the same order."""
    draw = random.Random(seed)
    while True:
        if draw.random() < speech_share:
            yield draw.choice(heard)
        else:
            yield draw.choice(spoken)


def synthetic_speech(seconds: float, seed: int) -> np.ndarray:
    """Something like speech: a gliding voice, four syllables a second. [N] float32, 16 kHz."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(int(seconds * INPUT_SAMPLE_RATE_HZ)) / INPUT_SAMPLE_RATE_HZ
    pitch_hz = 120 + 30 * np.sin(2 * np.pi * (0.6 * time_s + rng.random()))
    phase = 2 * np.pi * np.cumsum(pitch_hz) / INPUT_SAMPLE_RATE_HZ
    # 20 harmonics reach 3 kHz; their weights stand for one vowel
    harmonics = np.arange(1, 21)[:, None]
    weights = rng.random((20, 1)) / harmonics
    voice = (weights * np.sin(harmonics * phase)).sum(axis=0)
    syllables = np.clip(np.sin(2 * np.pi * 4 * time_s + rng.random()), 0, None)
    samples = voice * syllables + 0.002 * rng.standard_normal(len(time_s))
    return (0.5 * samples / np.abs(samples).max()).astype(np.float32)


def synthetic_wav(seconds: float, seed: int) -> bytes:
    """The same as a 16 kHz WAV file."""
    pcm = (synthetic_speech(seconds, seed) * 32767).astype("<i2")
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(INPUT_SAMPLE_RATE_HZ)
        writer.writeframes(pcm.tobytes())
    return file.getvalue()


def _recording(name: str, data: bytes, suffix: str = ".wav") -> SpeechInput:
    return SpeechInput(name, suffix.lstrip(".").lower(), base64.b64encode(data).decode())
