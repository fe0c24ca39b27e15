"""The ear of one session: its sound in, the events of its turns out."""

import asyncio
from collections import deque

import numpy as np

from serve_app.sound.turns.activity import ActivityStream, VoiceActivity
from serve_app.sound.turns.events import SpeechStarted, SpeechStopped, TurnEvent
from serve_app.sound.turns.smart_turn_judge import TurnJudge
from serve_app.sound.turns.turn_detector import TurnDetector
from serve_app.sound.turns.turn_settings import FRAME_MS, SemanticVad, ServerVad, TurnRule
from serve_app.sound.voice_activity import FRAME_SAMPLES

JUDGED_FRAMES = 8000 // FRAME_MS  # 8 s: the model hears no more
STEP_SAMPLES = 64 * FRAME_SAMPLES  # 2 s: the event loop is free between two steps
KEPT_FRAMES = 384 // FRAME_MS  # before a turn begins: its padding


class Listener:
    """Hears one session. Not for use by several tasks at a time.

    Args:
        rule: how turns are told apart; None where the client says it: then `hear` has no events,
            and the time goes on.
        activity: the replica's.
        judge: the replica's; without it, a semantic turn ends after the wait for an unknown end.
    """

    def __init__(
        self, rule: TurnRule | None, activity: VoiceActivity, judge: TurnJudge | None
    ) -> None:
        self._detects = rule is not None
        self._semantic = isinstance(rule, SemanticVad)
        self._detector = TurnDetector(rule or ServerVad())
        self._activity, self._stream = activity, ActivityStream()
        self._judge = judge
        self._rest = np.empty(0, np.float32)  # less than a frame
        self._frames: deque[np.ndarray] = deque(maxlen=JUDGED_FRAMES)
        self._in_turn = False
        self._question: asyncio.Task[float | None] | None = None

    @property
    def now_ms(self) -> int:
        """The length of the sound that was heard, in whole frames of 32 ms."""
        return self._detector.now_ms

    async def hear(self, samples: np.ndarray) -> list[TurnEvent]:
        """Hear the next [N] float32 at 16 kHz, any N; events in the order of their times."""
        sound = np.concatenate((self._rest, samples))
        whole = len(sound) // FRAME_SAMPLES * FRAME_SAMPLES
        self._rest = sound[whole:].copy()
        if not self._detects:
            self._detector.skip(whole // FRAME_SAMPLES)
            return []
        events = []
        for start in range(0, whole, STEP_SAMPLES):
            piece = sound[start : min(start + STEP_SAMPLES, whole)]
            found = await self._activity.probabilities(self._stream, piece)
            frames = piece.reshape(-1, FRAME_SAMPLES)
            levels = np.sqrt(np.mean(frames**2, axis=1)).tolist()
            for frame, probability, level in zip(frames, found, levels, strict=True):
                events += self._push(frame, probability, level)
        return events

    def change(self, rule: TurnRule | None) -> None:
        """Go on by another rule, and with the turn that is not over; None forgets it."""
        self._detects, self._semantic = rule is not None, isinstance(rule, SemanticVad)
        if rule is None:
            self.end_turn()
            self._stream = ActivityStream()
        else:
            self._detector.change(rule)

    def end_turn(self) -> None:
        """The client ended the turn (commit) or threw its sound away (clear)."""
        self._drop_question()
        self._detector.end_turn()
        self._in_turn = False

    def idle_from(self, at_ms: int | None) -> None:
        """Count `idle_timeout_ms` from here, the time at which an answer has been played.

        With None it does not count: an answer is being made or played. It counts from no time
        before the first call.
        """
        self._detector.idle_from(at_ms)

    def close(self) -> None:
        """Drop what is still being asked."""
        self._drop_question()

    def _push(self, frame: np.ndarray, probability: float, level: float) -> list[TurnEvent]:
        if self._semantic and self._judge is not None:
            self._keep(frame)
        self._hear_judge()
        events = self._detector.push(probability, level)
        for event in events:
            if isinstance(event, SpeechStarted):
                self._in_turn = True
            elif isinstance(event, SpeechStopped):
                self._in_turn = False
        self._ask()
        return events

    def _keep(self, frame: np.ndarray) -> None:
        self._frames.append(frame.copy())
        if not self._in_turn:
            while len(self._frames) > KEPT_FRAMES:
                self._frames.popleft()

    def _ask(self) -> None:
        if not self._detector.asks():
            self._drop_question()  # speech goes on, or the turn is over
        elif self._judge is None:
            self._detector.judged(None)
        elif self._question is None:
            sound = np.concatenate(self._frames)
            self._question = asyncio.create_task(self._judge.complete(sound))

    def _hear_judge(self) -> None:
        question = self._question
        if question is not None and question.done():
            self._question = None
            self._detector.judged(None if question.cancelled() else question.result())

    def _drop_question(self) -> None:
        if self._question is not None:
            self._question.cancel()
            self._question = None
