"""Answers without a client, so that the first real answer finds everything warm.

They go the way of every answer, through the HTTP application and the graph: that opens the
connections between the stages and runs each piece of code once.
"""

import asyncio
import logging
from contextlib import aclosing
from typing import Any

import httpx
from fastapi import FastAPI

from deployments.heap import settle_heap
from deployments.messages import SamplingOptions, ThinkerRequest
from deployments.thinker import tasks
from serve_app.graph.backend import Backend
from serve_app.http.access.gate import from_inside
from serve_app.http.settings import HttpSettings

logger = logging.getLogger(__name__)
SPOKEN_TOKENS = 30  # a first chunk, a second and the last
WRITTEN_TOKENS = 2
ASK_AGAIN_S, ASK_TIMES = 0.5, 20  # Serve tells of a replica a little after it can be called


async def rehearse(app: FastAPI, backend: Backend, settings: HttpSettings) -> None:
    """Wait for the stages, then answer once in text and, where there is Token2Wav, once aloud.

    What goes wrong is logged and no more: whether the graph can serve is for others to say.
    """
    try:
        sampling = SamplingOptions(max_tokens=WRITTEN_TOKENS)
        first = ThinkerRequest("rehearsal", tasks.converse("hello"), sampling=sampling)
        async with aclosing(backend.text(first)) as deltas:
            async for _ in deltas:  # the first comes when there is a Thinker
                pass
        speaks = bool(await backend.voices())  # they come when there is a Token2Wav
        for body in (_text_body(settings), *([_speech_body(settings)] if speaks else [])):
            await _post(app, body)
        logger.info("ready: the graph has answered; /docs says what it serves")
    except Exception as error:
        logger.warning("the graph could not be rehearsed: %s", error)
    settle_heap()


def _text_body(settings: HttpSettings) -> dict[str, Any]:
    return {
        "model": settings.models[0],
        "messages": [{"role": "user", "content": "hello"}],
        "max_completion_tokens": WRITTEN_TOKENS,
    }


def _speech_body(settings: HttpSettings) -> dict[str, Any]:
    return _text_body(settings) | {
        "modalities": ["text", "audio"],
        "audio": {"format": "pcm16"},
        "stream": True,
        "max_completion_tokens": SPOKEN_TOKENS,
    }


async def _post(app: FastAPI, body: dict[str, Any]) -> None:
    inside = httpx.ASGITransport(from_inside(app))
    async with httpx.AsyncClient(
        transport=inside, base_url="http://rehearsal", timeout=None
    ) as client:
        for _ in range(ASK_TIMES):
            answer = await client.post("/v1/chat/completions", json=body)
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                break
            await asyncio.sleep(ASK_AGAIN_S)
    answer.raise_for_status()
