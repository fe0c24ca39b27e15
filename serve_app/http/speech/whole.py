"""A spoken text as one file, whose header knows how long it is."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi import Request
from starlette.responses import Response

from deployments.errors import AnswerSilent
from deployments.messages import SpeechDelta
from serve_app.http.streaming import collect
from serve_app.sound.encoding.encoder_threads import encoding
from serve_app.sound.encoding.format_table import FORMATS, AudioFormat


async def sound_file(
    request: Request, spoken: AsyncGenerator[SpeechDelta], form: AudioFormat, speed: float
) -> Response:
    """All of the sound at once.

    Raises:
        AnswerSilent: there is no sound in it.
        AnswerCut: the sound ends before the text.
    """
    pcm = b"".join(await collect(request, _at_speed(spoken, speed)))
    if not pcm:
        raise AnswerSilent("this input")
    data = await asyncio.to_thread(form.file, pcm)
    return Response(data, media_type=form.media_type, headers={"Cache-Control": "no-store"})


async def _at_speed(spoken: AsyncGenerator[SpeechDelta], speed: float) -> AsyncGenerator[bytes]:
    async with aclosing(spoken), encoding(FORMATS["pcm"], speed) as sound:
        async for delta in spoken:
            if delta.pcm:
                yield await sound.encode(delta.pcm)
        yield await sound.finish()
