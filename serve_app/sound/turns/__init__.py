"""Where the turns of a spoken session begin and end. No HTTP, no Ray."""

from serve_app.sound.turns.activity import VoiceActivity
from serve_app.sound.turns.events import (
    IdleTimeout,
    Interrupts,
    Paused,
    Resumed,
    SpeechStarted,
    SpeechStopped,
    TurnEvent,
)
from serve_app.sound.turns.listener import Listener
from serve_app.sound.turns.smart_turn_judge import TurnJudge
from serve_app.sound.turns.turn_detector import TurnDetector
from serve_app.sound.turns.turn_settings import (
    FRAME_MS,
    Eagerness,
    SemanticVad,
    ServerVad,
    TurnRule,
)

__all__ = [
    "FRAME_MS",
    "Eagerness",
    "IdleTimeout",
    "Interrupts",
    "Listener",
    "Paused",
    "Resumed",
    "SemanticVad",
    "ServerVad",
    "SpeechStarted",
    "SpeechStopped",
    "TurnDetector",
    "TurnEvent",
    "TurnJudge",
    "TurnRule",
    "VoiceActivity",
]
