"""What the tests of chats ask, and what the fake graph says."""

from typing import Any

import numpy as np

from deployments.messages import ThinkerDelta, Usage
from deployments.thinker.fake import audio_tokens_of

ASK: list[Any] = [{"role": "user", "content": "How are you?"}]
SPOKEN: dict[str, Any] = {
    "modalities": ["text", "audio"],
    "audio": {"voice": "anna", "format": "pcm16"},
}
END = ThinkerDelta(finish_reason="stop", usage=Usage(3, 1))


def pcm_of(text: str) -> bytes:
    return np.repeat(np.array(audio_tokens_of(text), dtype="<i2"), 960).tobytes()
