"""The prompts of each task, as the published model was trained on them (version 1).

Other wordings make the published model noticeably worse, so clients name a task and the words
stay here. Source: `examples.py` of the official repository.
"""

import numpy as np

from deployments.messages import AudioPart, Message, Role, TextPart

TRANSCRIBE = "请记录下你所听到的语音内容。"
TRANSLATE = {
    "zh": "请仔细聆听这段语音，然后将其内容翻译成中文。",
    "en": "请仔细聆听这段语音，然后将其内容翻译成英文。",
}
TRANSLATE_ALOUD = {
    "zh": "请仔细聆听这段语音，然后将其内容翻译成中文并用语音播报。",
    "en": "请仔细聆听这段语音，然后将其内容翻译成英文并用语音播报。",
}
SPEAK = "以自然的语速读出下面的文字。\n"
CONVERSE = "You are a helpful assistant."


def transcribe(
    samples: np.ndarray, language: str | None = None, prompt: str | None = None
) -> tuple[Message, ...]:
    """Write down what is said in `samples` ([N] float32, 16 kHz).

    The model recognizes the language by itself and takes no name of it, so `language` changes
    nothing.
    `prompt` (names, spellings, what came before) follows the task's own words.
    """
    return _listen(TRANSCRIBE + (prompt or ""), samples)


def translate(
    samples: np.ndarray, into: str = "en", prompt: str | None = None
) -> tuple[Message, ...]:
    """Write down the meaning of `samples` ([N] float32, 16 kHz) in `into`, "en" or "zh".

    `prompt` follows the task's own words, as that of `transcribe` does.
    """
    return _listen(TRANSLATE[into] + (prompt or ""), samples)


def ask(samples: np.ndarray, question: str) -> tuple[Message, ...]:
    """Answer a question about `samples` ([N] float32, 16 kHz)."""
    return _listen(question, samples)


def speak(text: str, instructions: str | None = None) -> tuple[Message, ...]:
    """Read `text` aloud; `instructions` say how. For a spoken reply."""
    return _turn(SPEAK + (instructions or ""), TextPart(text))


def speech_to_speech_translation(samples: np.ndarray, into: str = "zh") -> tuple[Message, ...]:
    """Say in `into`, "en" or "zh", what `samples` ([N] float32, 16 kHz) say. For a spoken reply."""
    return _listen(TRANSLATE_ALOUD[into], samples)


def converse(
    said: str | np.ndarray, history: tuple[Message, ...] = (), system: str = CONVERSE
) -> tuple[Message, ...]:
    """Answer what was said, as text or as samples ([N] float32, 16 kHz), after `history`."""
    part = TextPart(said) if isinstance(said, str) else AudioPart(said)
    if history:
        return (*history, Message(Role.HUMAN, (part,)))
    return _turn(system, part)


def _listen(system: str, samples: np.ndarray) -> tuple[Message, ...]:
    return _turn(system, AudioPart(samples))


def _turn(system: str, part: TextPart | AudioPart) -> tuple[Message, ...]:
    return (Message(Role.SYSTEM, (TextPart(system),)), Message(Role.HUMAN, (part,)))
