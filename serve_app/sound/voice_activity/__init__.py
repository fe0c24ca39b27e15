"""Where in a recording somebody speaks: silero's model and the rules over it. Streaming, 16 kHz."""

from serve_app.sound.voice_activity.edges import Edge, SpeechRule, SpeechState, find_edges
from serve_app.sound.voice_activity.silero import (
    FRAME_SAMPLES,
    RATE_HZ,
    SileroModel,
    SileroState,
    shared_model,
)
from serve_app.sound.voice_activity.tighten import OUTSIDE_SAMPLES, tighten

__all__ = [
    "FRAME_SAMPLES",
    "OUTSIDE_SAMPLES",
    "RATE_HZ",
    "Edge",
    "SileroModel",
    "SileroState",
    "SpeechRule",
    "SpeechState",
    "find_edges",
    "shared_model",
    "tighten",
]
