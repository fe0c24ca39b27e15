"""How the turns of a session are told apart: two kinds of turn detection."""

from dataclasses import dataclass
from typing import Literal

FRAME_MS = 32  # of one probability of speech
PAUSE_MS = 160  # of silence within a turn: five frames

Eagerness = Literal["low", "medium", "high", "auto"]


@dataclass(frozen=True, slots=True)
class ServerVad:
    """A turn ends after a fixed silence."""

    threshold: float = 0.5
    """Speech begins with the first frame of at least this probability. From 0 to 1."""

    prefix_padding_ms: int = 300
    """How much of the sound before the first frame of speech belongs to the turn."""

    silence_duration_ms: int = 500
    """The silence that ends a turn. It belongs to the turn."""

    idle_timeout_ms: int | None = None
    """After an answer was played, so much time without speech is an `IdleTimeout`."""


@dataclass(frozen=True, slots=True)
class SemanticVad:
    """A turn ends after a short silence if it sounds complete, after a long one if it does not."""

    eagerness: Eagerness = "auto"
    """How soon a turn ends; `auto` is `medium`. `end_of_turn_silence.py` has the figures."""


TurnRule = ServerVad | SemanticVad
