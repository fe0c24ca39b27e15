"""The models that tell turns apart: one set for all sessions of a process."""

import asyncio

from serve_app.http.realtime.session_types import Detection, SemanticVadFields, ServerVadFields
from serve_app.sound.turns import (
    Listener,
    SemanticVad,
    ServerVad,
    TurnJudge,
    TurnRule,
    VoiceActivity,
)


class TurnModels:
    """Loads both models when the first session needs them."""

    def __init__(self) -> None:
        self._loading = asyncio.Lock()
        self._activity: VoiceActivity | None = None
        self._judge: TurnJudge | None = None

    async def listener(self, rule: TurnRule | None) -> Listener:
        """What hears one session. Its turns may become semantic later, so it has the judge."""
        async with self._loading:
            if self._activity is None or self._judge is None:
                self._activity = await asyncio.to_thread(VoiceActivity)
                self._judge = await asyncio.to_thread(TurnJudge)
        return Listener(rule, self._activity, self._judge)


def rule_of(fields: Detection | None) -> TurnRule | None:
    """How turns are told apart, by a session's fields; None leaves it to the client."""
    match fields:
        case SemanticVadFields():
            return SemanticVad(fields.eagerness)
        case ServerVadFields():
            return ServerVad(
                fields.threshold,
                fields.prefix_padding_ms,
                fields.silence_duration_ms,
                fields.idle_timeout_ms,
            )
    return None
