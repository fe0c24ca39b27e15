"""Probabilities of speech -> where turns begin and end. Pure; one detector a session."""

from dataclasses import dataclass

from serve_app.sound.turns.end_of_turn_silence import ASKED_AT_MS, MOST_TRAILING_MS, WAITS, Waits
from serve_app.sound.turns.events import (
    IdleTimeout,
    Interrupts,
    Paused,
    Resumed,
    SpeechStarted,
    SpeechStopped,
    TurnEvent,
)
from serve_app.sound.turns.turn_settings import FRAME_MS, PAUSE_MS, ServerVad, TurnRule
from serve_app.sound.voice_activity import SpeechRule

INTERRUPTS_MS = 200  # of speech: longer than "mhm", shorter than most first words with the next
# The model calls up to five frames behind a sound speech; below a tenth of the turn's loudest frame
# (−20 dB) they do not count for `Interrupts`.
SOFTEST = 0.1
SEMANTIC_THRESHOLD = 0.5
SEMANTIC_PREFIX_PADDING_MS = 300


@dataclass(slots=True)
class _Turn:
    """One turn that is not over."""

    start_ms: int
    loudest: float = 0.0  # the level of its loudest frame
    speech_ms: int = 0  # of speech since the last pause, in frames that are loud enough
    interrupts: bool = False  # `Interrupts` was sent
    silent_from_ms: int | None = None
    paused: bool = False
    asked: bool = False  # whether the model has had its word on this silence
    complete: float | None = None  # what it said


class TurnDetector:
    """The turns of one session."""

    def __init__(self, rule: TurnRule) -> None:
        self._frames = 0  # seen so far
        self._turn: _Turn | None = None
        self._turns_end_ms = 0  # where the turn before ended
        self._idle_from_ms: int | None = None
        self.change(rule)

    @property
    def now_ms(self) -> int:
        """The length of all sound so far."""
        return self._frames * FRAME_MS

    def change(self, rule: TurnRule) -> None:
        """Go on by another rule. A turn that is not over goes on, too."""
        self._waits: Waits | None = None
        if isinstance(rule, ServerVad):
            self._threshold, self._padding_ms = rule.threshold, rule.prefix_padding_ms
            self._silence_ms, self._timeout_ms = rule.silence_duration_ms, rule.idle_timeout_ms
        else:
            self._threshold, self._padding_ms = SEMANTIC_THRESHOLD, SEMANTIC_PREFIX_PADDING_MS
            self._waits, self._timeout_ms = WAITS[rule.eagerness], None
        self._quiet_below = SpeechRule(self._threshold).quiet_below

    def push(self, probability: float, level: float = 1.0) -> list[TurnEvent]:
        """Hear one frame of `FRAME_MS`.

        Args:
            probability: that of speech in it.
            level: its root mean square, in any unit.
        """
        self._frames += 1
        loud, quiet = probability >= self._threshold, probability < self._quiet_below
        if self._turn is None:
            return self._begin(level) if loud else self._idle()
        return self._speech(self._turn, level) if loud else self._silence(self._turn, quiet)

    def skip(self, frames: int) -> None:
        """Let frames pass unheard: nobody detects turns now, yet time goes on."""
        self._frames += frames
        self.end_turn()

    def end_turn(self) -> None:
        """Forget the turn that is not over; the next one begins at this moment or later."""
        self._turn, self._turns_end_ms = None, self.now_ms

    def idle_from(self, at_ms: int | None) -> None:
        """Count the idle time from here: the moment at which an answer has been played.

        With None it does not count: an answer is being made or played.
        """
        self._idle_from_ms = at_ms

    def asks(self) -> bool:
        """Whether the model should have its word now: is the turn complete?

        True from `ASKED_AT_MS` of silence until `judged`, or until speech goes on.
        """
        turn = self._turn
        if self._waits is None or turn is None or turn.asked:
            return False
        return self._silent_ms(turn) >= ASKED_AT_MS

    def judged(self, complete: float | None) -> None:
        """Hear the answer to `asks`: a probability; None where the model had no time for it."""
        if self.asks() and self._turn is not None:
            self._turn.asked, self._turn.complete = True, complete

    def _begin(self, level: float) -> list[TurnEvent]:
        start_ms = max(self.now_ms - FRAME_MS - self._padding_ms, self._turns_end_ms)
        self._turn, self._idle_from_ms = _Turn(start_ms), None
        return [SpeechStarted(start_ms), *self._speech(self._turn, level)]

    def _speech(self, turn: _Turn, level: float) -> list[TurnEvent]:
        events: list[TurnEvent] = [Resumed(self.now_ms)] if turn.paused else []
        turn.silent_from_ms, turn.paused, turn.asked, turn.complete = None, False, False, None
        turn.loudest = max(turn.loudest, level)
        turn.speech_ms += FRAME_MS if level >= SOFTEST * turn.loudest else 0
        if not turn.interrupts and (self._waits is None or turn.speech_ms >= INTERRUPTS_MS):
            turn.interrupts = True
            events.append(Interrupts(self.now_ms))
        return events

    def _silence(self, turn: _Turn, quiet: bool) -> list[TurnEvent]:
        if turn.silent_from_ms is None and quiet:
            turn.silent_from_ms = self.now_ms - FRAME_MS
        if turn.silent_from_ms is None:
            return []
        wait_ms = self._wait_ms(turn)
        if self._silent_ms(turn) >= wait_ms:
            return [self._stop(turn, turn.silent_from_ms, wait_ms)]
        if self._silent_ms(turn) >= PAUSE_MS and not turn.paused:
            turn.paused, turn.speech_ms = True, 0
            return [Paused(self.now_ms)]
        return []

    def _stop(self, turn: _Turn, silent_from_ms: int, wait_ms: int) -> SpeechStopped:
        trailing_ms = wait_ms if self._waits is None else min(wait_ms, MOST_TRAILING_MS)
        self._turn, self._turns_end_ms = None, silent_from_ms + trailing_ms
        return SpeechStopped(turn.start_ms, self._turns_end_ms)

    def _idle(self) -> list[TurnEvent]:
        start_ms = self._idle_from_ms
        if self._timeout_ms is None or start_ms is None:
            return []
        if self.now_ms - start_ms < self._timeout_ms:
            return []
        self._idle_from_ms = None
        return [IdleTimeout(start_ms, self.now_ms)]

    def _silent_ms(self, turn: _Turn) -> int:
        return 0 if turn.silent_from_ms is None else self.now_ms - turn.silent_from_ms

    def _wait_ms(self, turn: _Turn) -> int:
        return self._silence_ms if self._waits is None else self._waits.after(turn.complete)
