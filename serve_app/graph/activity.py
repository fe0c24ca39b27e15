"""What goes on in a replica of the ingress: answers under way, how the last ones went."""

from collections import deque
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from typing import Literal

from deployments import metrics
from deployments.messages import SpeechDelta, SpeechRequest, ThinkerDelta, ThinkerRequest
from deployments.metrics import Metric, Recorder
from serve_app.graph.backend import Backend, ForwardingBackend

REMEMBERED = 32  # answers


class Activity:
    """Counts answers while they are made, and remembers figures of the last ones."""

    def __init__(self) -> None:
        self._under_way = {"text": 0, "speech": 0}
        self._figures: dict[Metric, deque[float]] = {
            metrics.FIRST_SOUND: deque(maxlen=REMEMBERED),
            metrics.REAL_TIME_FACTOR: deque(maxlen=REMEMBERED),
        }

    @property
    def answers(self) -> int:
        """All that are under way."""
        return sum(self._under_way.values())

    @property
    def text_answers(self) -> int:
        return self._under_way["text"]

    @property
    def spoken_answers(self) -> int:
        return self._under_way["speech"]

    @property
    def first_sounds_s(self) -> tuple[float, ...]:
        """In seconds, of the last answers that somebody listened to."""
        return tuple(self._figures[metrics.FIRST_SOUND])

    @property
    def real_time_factors(self) -> tuple[float, ...]:
        """Of the last answers that were spoken to their end."""
        return tuple(self._figures[metrics.REAL_TIME_FACTOR])

    @contextmanager
    def under_way(self, reply: Literal["text", "speech"]) -> Iterator[None]:
        """Count an answer for as long as the block lasts."""
        self._under_way[reply] += 1
        try:
            yield
        finally:
            self._under_way[reply] -= 1

    def note(self, metric: Metric, value: float) -> None:
        """Remember `value`, if it is a figure that is shown."""
        if metric in self._figures:
            self._figures[metric].append(value)


class CountedBackend(ForwardingBackend):
    """A `Backend` whose answers are counted in `activity`."""

    def __init__(self, backend: Backend, activity: Activity) -> None:
        super().__init__(backend)
        self._activity = activity

    async def text(self, request: ThinkerRequest) -> AsyncGenerator[ThinkerDelta]:
        with self._activity.under_way("text"):
            async with aclosing(self._backend.text(request)) as deltas:
                async for delta in deltas:
                    yield delta

    async def speech(self, request: SpeechRequest) -> AsyncGenerator[SpeechDelta]:
        with self._activity.under_way("speech"):
            async with aclosing(self._backend.speech(request)) as deltas:
                async for delta in deltas:
                    yield delta


class NotingRecorder:
    """Records with `recorder`, and notes in `activity` what is shown of it."""

    def __init__(self, recorder: Recorder, activity: Activity) -> None:
        self._recorder = recorder
        self._activity = activity

    def record(self, metric: Metric, value: float = 1.0, **tags: str) -> None:
        self._recorder.record(metric, value, **tags)
        self._activity.note(metric, value)

    def refresh(self) -> None:
        self._recorder.refresh()
