"""A request that brings its own voice: `voice: {"audio": {"data", "format"}}`."""

import base64
import io
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile

from deployments.messages import ReferenceAudio
from serve_app.http.recordings import MAX_SAMPLE_BYTES
from tests.integration.http.conftest import openai_client
from tests.integration.http.helpers import MODEL, wav_of
from tests.integration.http.test_voices import SPEECH, Node, chat, ids, say


def brought(recording: bytes) -> Any:
    return {"audio": {"data": base64.b64encode(recording).decode(), "format": "wav"}}


async def node(store: str | None = None) -> Node:
    started = Node(store)
    await started.backend.start()
    return started


async def test_speech_and_chats_use_the_recording_that_they_bring_and_keep_it_nowhere(
    tmp_path: Path,
) -> None:
    server = await node(str(tmp_path))
    before = await ids(server)
    async with openai_client(server.app) as openai:
        assert await say(openai, brought(SPEECH))
        await chat(openai, brought(SPEECH))
    assert server.synthesizer.asked == [ReferenceAudio(SPEECH)] * 2
    assert await ids(server) == before
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


async def test_a_server_that_keeps_no_voices_takes_one_of_a_request() -> None:
    server = await node(store=None)
    async with openai_client(server.app) as openai:
        assert await say(openai, brought(SPEECH))
    assert server.synthesizer.asked == [ReferenceAudio(SPEECH)]


def silent() -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(64_000, np.float32), 16_000, format="WAV")
    return file.getvalue()


@pytest.mark.parametrize(
    ("voice", "status", "code", "place"),
    [
        (brought(silent()), 400, "voice_audio_unfit", ".audio"),
        (brought(wav_of(1)), 400, "voice_audio_unfit", ".audio"),
        (brought(wav_of(4)), 400, "voice_audio_unfit", ".audio"),  # a tone is no speech
        (brought(b"PK\3\4" + bytes(99)), 400, "audio_unreadable", ".audio"),
        (brought(b""), 400, "audio_unreadable", ".audio"),
        ({"audio": {"data": "****", "format": "wav"}}, 400, "audio_unreadable", ".audio.data"),
        ({"audio": {"data": "é", "format": "wav"}}, 400, "audio_unreadable", ".audio.data"),
        (brought(bytes(MAX_SAMPLE_BYTES + 1)), 413, "request_too_large", ".audio"),
        ({"audio": {"data": 1, "format": "wav"}}, 400, "invalid_value", ".audio.data"),
        ({"audio": {"format": "wav"}}, 400, "invalid_value", ".audio.data"),
        ({"audio": None}, 400, "invalid_value", ".audio"),
        ({"id": 1}, 400, "invalid_value", ".id"),
        ({}, 400, "invalid_value", ".id"),
        (1, 400, "invalid_value", ""),
    ],
    ids=range(14),
)
async def test_it_is_checked_as_an_upload_is_and_refused_by_its_place(
    voice: Any, status: int, code: str, place: str
) -> None:
    server = await node()
    speech = {"model": MODEL, "input": "Hi", "voice": voice, "response_format": "pcm"}
    spoken = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Hi"}],
        "modalities": ["text", "audio"],
        "audio": {"voice": voice, "format": "pcm16"},
    }
    async with server.raw as client:
        for path, body, field in (
            ("audio/speech", speech, "voice"),
            ("chat/completions", spoken, "audio.voice"),
        ):
            answer: httpx.Response = await client.post(f"/v1/{path}", json=body)
            error = answer.json()["error"]
            assert (answer.status_code, error["code"]) == (status, code)
            assert error["param"] == field + place
    assert server.synthesizer.asked == []
