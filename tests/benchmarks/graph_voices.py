"""Listeners while new voices are prepared beside them: nobody may hear a gap for it."""

import asyncio
import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import soundfile

from deployments.token2wav.configured_voices import SHIPPED_VOICE

PREPARED_WITHIN_S = 30.0
BREAK_S = 0.2  # between two uploads


def recordings() -> Iterator[bytes]:
    """The shipped voice again and again, each time with other noise far below it: other bytes."""
    samples, rate_hz = soundfile.read(Path(SHIPPED_VOICE), dtype="float32")
    noise = np.random.default_rng(0)
    while True:
        file = io.BytesIO()
        noisy = samples + noise.normal(scale=1e-4, size=samples.shape).astype(np.float32)
        soundfile.write(file, noisy, rate_hz, format="WAV", subtype="PCM_16")
        yield file.getvalue()


async def upload_until(
    is_over: Callable[[], bool], url: str, transport: httpx.AsyncBaseTransport | None = None
) -> dict[str, Any]:
    """Upload one voice after another until it is over; says how long each took."""
    took_s: list[float] = []
    statuses: list[int] = []
    async with httpx.AsyncClient(
        base_url=url, timeout=PREPARED_WITHIN_S, trust_env=False, transport=transport
    ) as client:
        for number, wav in enumerate(recordings()):
            if is_over():
                break
            began_s = time.perf_counter()
            answer = await client.post(
                "/v1/audio/voices",
                data={"name": f"voice-{number}"},
                files={"audio_sample": ("voice.wav", wav)},
            )
            took_s.append(round(time.perf_counter() - began_s, 3))
            statuses.append(answer.status_code)
            await asyncio.sleep(BREAK_S)
    return {
        "voices_prepared": statuses.count(200),
        "statuses": sorted(set(statuses)),
        "took_s": took_s,
    }
