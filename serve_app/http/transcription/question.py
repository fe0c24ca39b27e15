"""What the Thinker is asked about a recording, or about a piece of it."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass

import numpy as np

from deployments.messages import (
    INPUT_SAMPLE_RATE_HZ,
    SamplingOptions,
    ThinkerDelta,
    ThinkerRequest,
)
from serve_app.graph.answers import uncut
from serve_app.graph.backend import Backend
from serve_app.http.transcription.length import most_tokens
from serve_app.http.transcription.types import TranslationForm
from serve_app.sound.recording_pieces import Piece


@dataclass(frozen=True, slots=True)
class Question:
    """One request for a transcript or a translation; its answers raise AnswerCut."""

    form: TranslationForm
    request_id: str
    backend: Backend

    def whole(self, samples: np.ndarray) -> AsyncGenerator[ThinkerDelta]:
        """About a recording, [N] float32 at 16 kHz, at once."""
        # Greedy unless asked otherwise: a recording has one transcript.
        return self._ask(samples, self.request_id, self.form.temperature or 0.0)

    def about(self, piece: Piece, number: int, temperature: float) -> AsyncGenerator[ThinkerDelta]:
        """About one piece of it, whose number is a part of the request's id in the stages."""
        return self._ask(piece.samples, f"{self.request_id}/{number}", temperature)

    def _ask(
        self, samples: np.ndarray, request_id: str, temperature: float
    ) -> AsyncGenerator[ThinkerDelta]:
        limit = most_tokens(len(samples) / INPUT_SAMPLE_RATE_HZ)
        sampling = SamplingOptions(temperature=temperature, max_tokens=limit)
        messages = self.form.messages(samples)
        asked = ThinkerRequest(request_id, messages, sampling=sampling, priority=self.form.priority)
        return uncut(self.backend.text(asked))
