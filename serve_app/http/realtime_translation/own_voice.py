"""The speaker's own voice, out of the first seconds that they say."""

import io
import wave

import numpy as np

from deployments.errors import VoiceSampleUnfit
from deployments.messages import INPUT_SAMPLE_RATE_HZ, ReferenceAudio
from serve_app.sound.voice_samples import MIN_S, check_sample, energetic_s

MOST_S = 10.0  # that a voice is made of; a longer one makes every step dearer


class OwnVoice:
    """Listens to one speaker until there is enough for a voice, which then stays.

    A voice is prepared once for a recording. One that changed with each phrase would be prepared
    with each, and would not be one voice.
    """

    def __init__(self) -> None:
        self._heard = np.empty(0, np.float32)
        self._voice: ReferenceAudio | None = None

    def hear(self, samples: np.ndarray) -> ReferenceAudio | None:
        """Take a phrase ([N] float32, 16 kHz). The voice, or None while too little was said.

        A phrase that is silent or clipped makes no voice: it goes on with the next ones.
        """
        if self._voice is not None:
            return self._voice
        most = int(MOST_S * INPUT_SAMPLE_RATE_HZ)
        self._heard = np.concatenate((self._heard, samples))[-most:]
        if len(self._heard) >= MIN_S * INPUT_SAMPLE_RATE_HZ and _is_fit(self._heard):
            self._voice = ReferenceAudio(_wav(self._heard))
            self._heard = np.empty(0, np.float32)
        return self._voice


def _is_fit(samples: np.ndarray) -> bool:
    try:
        check_sample(samples, INPUT_SAMPLE_RATE_HZ, 1, energetic_s)
    except VoiceSampleUnfit:
        return False
    return True


def _wav(samples: np.ndarray) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(INPUT_SAMPLE_RATE_HZ)
        writer.writeframes((samples.clip(-1, 1) * 32767).astype("<i2").tobytes())
    return file.getvalue()
