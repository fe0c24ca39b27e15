"""Smart Turn: the probability that a speaker is done (README.md). Without torch."""

from serve_app.sound.turns.smart_turn.features import SAMPLES_HEARD
from serve_app.sound.turns.smart_turn.model import SmartTurn

__all__ = ["SAMPLES_HEARD", "SmartTurn"]
