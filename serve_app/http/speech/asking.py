"""What the graph is asked for where a text is to be spoken."""

import asyncio
from collections.abc import Sequence

from deployments.messages import (
    NextPart,
    SamplingOptions,
    SpeechRequest,
    ThinkerRequest,
    Voice,
)
from deployments.thinker import tasks
from deployments.thinker.speech_length import speech_length
from serve_app.http.speech.types import Manner
from serve_app.sound.text_passages import Passage, passages

SHORT = 200  # characters, which are cut in no time


async def passages_of(text: str, limit_s: float) -> list[Passage]:
    """The passages of `text`; cutting a long one takes some milliseconds of a thread."""
    if len(text) < SHORT:
        return passages(text, limit_s)
    return await asyncio.to_thread(passages, text, limit_s)


def speech_request(
    manner: Manner,
    parts: Sequence[Passage],
    voice: Voice,
    request_id: str,
    *,
    streamed: bool = True,
) -> SpeechRequest:
    """All of `parts`, at least one, spoken in one stream of sound."""
    first, *others = (_thinker_request(manner, part.text, request_id) for part in parts)
    pauses_s = (part.pause_s for part in parts)
    return SpeechRequest(
        first,
        voice,
        streamed=streamed,
        then=tuple(map(NextPart, others, pauses_s)),
        speed=manner.speed or 1.0,
    )


def _thinker_request(manner: Manner, text: str, request_id: str) -> ThinkerRequest:
    length = speech_length(text)
    return ThinkerRequest(
        request_id=request_id,
        messages=tasks.speak(text, manner.instructions),
        reply="speech",
        sampling=SamplingOptions(manner.temperature, max_tokens=length.most, seed=manner.seed),
        needed_tokens=max(1, length.least),
        priority=manner.priority,
    )
