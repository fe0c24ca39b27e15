"""What a session's sound brings. Times are ms (int) from the start of all sound of the session.

`at_ms` is the position at which the event was known: the end of the frame that showed it.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """A turn begins."""

    audio_start_ms: int
    """Padding is subtracted already; never before the end of the turn before."""


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    """The turn is over. Its sound is that from `audio_start_ms` to `audio_end_ms`."""

    audio_start_ms: int
    audio_end_ms: int
    """With the silence that ended it; `waits.MOST_TRAILING_MS` of it in a semantic turn."""


@dataclass(frozen=True, slots=True)
class Paused:
    """There are `PAUSE_MS` of silence within a turn: an answer may be begun on trial."""

    at_ms: int


@dataclass(frozen=True, slots=True)
class Resumed:
    """The turn goes on after `Paused`."""

    at_ms: int


@dataclass(frozen=True, slots=True)
class Interrupts:
    """There is enough speech to stop an answer, once a turn.

    At once with `ServerVad`, after `INTERRUPTS_MS` of speech with `SemanticVad`. A turn that ends
    without it is a sound of assent ("mhm"), a cough or a noise.
    """

    at_ms: int


@dataclass(frozen=True, slots=True)
class IdleTimeout:
    """Nobody spoke for `ServerVad.idle_timeout_ms` after an answer was played.

    The span is that of the silence.
    """

    audio_start_ms: int
    audio_end_ms: int


TurnEvent = SpeechStarted | SpeechStopped | Paused | Resumed | Interrupts | IdleTimeout
