"""The speaker's sound in phrases, each cut in a pause, beside the event loop."""

import asyncio

import numpy as np

from deployments.messages import INPUT_SAMPLE_RATE_HZ
from serve_app.http.realtime_translation.translation_events import FRAME_MS
from serve_app.sound.recording_pieces import Cutting, Piece, PieceCutter
from serve_app.sound.voice_activity import SpeechRule, shared_model

# A phrase is interpreted when its pause is known, so a longer pause is a longer wait. A listener
# waits for a phrase without a pause, too: it is cut where it is softest.
CUTTING = Cutting(rule=SpeechRule(silence_ms=400), padding_ms=200, longest_s=12.0)
FRAME_SAMPLES = INPUT_SAMPLE_RATE_HZ * FRAME_MS // 1000


class Phrases:
    """Cuts the sound of one session."""

    def __init__(self) -> None:
        self._cutter: PieceCutter | None = None
        self._waiting: list[np.ndarray] = []
        self._samples = 0  # that wait

    async def push(self, samples: np.ndarray) -> list[Piece]:
        """Take the next samples ([N] float32, 16 kHz); the phrases that are complete."""
        self._waiting.append(samples)
        self._samples += len(samples)
        if self._samples < FRAME_SAMPLES:
            return []
        return await asyncio.to_thread(self._cut, self._taken(), False)

    async def finish(self) -> list[Piece]:
        """The last phrases. Nothing may be pushed afterwards."""
        return await asyncio.to_thread(self._cut, self._taken(), True)

    def _taken(self) -> np.ndarray:
        taken = np.concatenate([np.empty(0, np.float32), *self._waiting])
        self._waiting, self._samples = [], 0
        return taken

    def _cut(self, samples: np.ndarray, is_last: bool) -> list[Piece]:
        if self._cutter is None:
            self._cutter = PieceCutter(shared_model(), CUTTING)
        pieces = self._cutter.push(samples)
        return [*pieces, *self._cutter.finish()] if is_last else pieces
