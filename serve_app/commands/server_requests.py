"""Requests that commands send a running server, and what comes of them."""

import base64
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from deployments.errors import ConfigError, EngineFailed
from serve_app.commands.server_wait import complaint
from serve_app.sound.encoding.wav import wav_file


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request, and what came of it."""

    task: str
    text: str
    first_s: float  # to the first text or sound
    total_s: float
    pcm: bytes = b""
    wav: Path | None = None


def served_model(client: httpx.Client) -> str:
    """The model that the server names.

    Raises:
        ConfigError: it names none, or it asks for a key.
    """
    try:
        return str(_json(client.get("/v1/models"))["data"][0]["id"])
    except (EngineFailed, httpx.HTTPError, LookupError, TypeError) as error:
        raise ConfigError(f"{client.base_url}/v1/models names no model: {error}") from error


def transcribe(client: httpx.Client, model: str, recording: Path) -> Outcome:
    """Stream the transcript of a recording."""
    begin = time.perf_counter()
    first_s, text = None, ""
    files = {"file": (recording.name, recording.read_bytes())}
    form = {"model": model, "stream": "true"}
    with client.stream("POST", "/v1/audio/transcriptions", data=form, files=files) as answer:
        for event in _events(answer):
            if first_s is None:
                first_s = time.perf_counter() - begin
            if event["type"] == "transcript.text.done":
                text = event["text"]
    total_s = time.perf_counter() - begin
    return Outcome(f"transcribe {recording.name}", text, first_s or total_s, total_s)


def speak(client: httpx.Client, model: str, text: str, voice: str, wav: Path) -> Outcome:
    """Stream a sentence as raw PCM, which is kept as `wav`."""
    wav.unlink(missing_ok=True)  # an earlier run's
    begin = time.perf_counter()
    first_s, pcm = None, bytearray()
    body = {
        "model": model,
        "voice": voice,
        "input": text,
        "response_format": "pcm",
    }
    with client.stream("POST", "/v1/audio/speech", json=body) as answer:
        _require_ok(answer)
        for piece in answer.iter_bytes():
            first_s = first_s or time.perf_counter() - begin
            pcm += piece
    total_s = time.perf_counter() - begin
    _save(wav, bytes(pcm))
    return Outcome("speak a sentence", text, first_s or total_s, total_s, bytes(pcm), wav)


def converse(client: httpx.Client, model: str, recording: Path, voice: str, wav: Path) -> Outcome:
    """Answer a recording aloud, as a chat does. The answer is kept as `wav`."""
    begin = time.perf_counter()
    first_s, pcm, text = None, bytearray(), ""
    data = base64.b64encode(recording.read_bytes()).decode("ascii")
    part = {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
    body = {
        "model": model,
        "messages": [{"role": "user", "content": [part]}],
        "modalities": ["text", "audio"],
        "audio": {"voice": voice, "format": "pcm16"},
        "stream": True,
    }
    with client.stream("POST", "/v1/chat/completions", json=body) as answer:
        for event in _events(answer):
            audio = event["choices"][0]["delta"].get("audio", {}) if event["choices"] else {}
            text += audio.get("transcript", "")
            if audio.get("data"):
                first_s = first_s or time.perf_counter() - begin
                pcm += base64.b64decode(audio["data"])
    total_s = time.perf_counter() - begin
    _save(wav, bytes(pcm))
    return Outcome("answer speech with speech", text, first_s or total_s, total_s, bytes(pcm), wav)


def _save(path: Path, pcm: bytes) -> None:
    path.write_bytes(wav_file(pcm))


def _events(answer: httpx.Response) -> Iterator[dict[str, Any]]:
    _require_ok(answer)
    for line in answer.iter_lines():
        if line.startswith("data: ") and line != "data: [DONE]":
            event = json.loads(line.removeprefix("data: "))
            if "error" in event:
                raise EngineFailed(event["error"]["message"])
            yield event


def _require_ok(answer: httpx.Response) -> None:
    if answer.status_code != 200:
        answer.read()
        _json(answer)


def _json(answer: httpx.Response) -> Any:
    if answer.status_code != 200:
        raise EngineFailed(f"{answer.status_code}: {complaint(answer) or answer.text[:200]}")
    try:
        return answer.json()
    except ValueError as error:
        raise EngineFailed(f"an answer that is no JSON: {answer.text[:200]}") from error
