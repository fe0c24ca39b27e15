"""`step-audio2 demo`: real requests to a running server, and what came of them.

With `--start CONFIG` it starts the server itself and stops it afterwards.
"""

import base64
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from deployments.errors import ConfigError, EngineFailed
from deployments.token2wav.configured_voices import SHIPPED_VOICE
from serve_app.commands.console import say
from serve_app.commands.own_server import server
from serve_app.commands.server_wait import complaint, wait_until_ready
from serve_app.commands.word_error_rate import word_error_rate
from serve_app.server_url import server_url, unused_proxy
from serve_app.sound.encoding.pcm import seconds_of
from serve_app.sound.encoding.wav import wav_file
from serve_app.whole_files import require_folder

SENTENCE = "A little horse drank some water before breakfast."
SPEECH = "speech.wav"
LISTEN = "transcribe what was spoken"


@dataclass(frozen=True, slots=True)
class Options:
    base_url: str = "http://127.0.0.1:8000"
    audio_path: Path = SHIPPED_VOICE
    text: str = SENTENCE
    voice: str = "default"
    output_dir: Path = Path("demo")
    start: Path | None = None  # a Serve configuration to run first
    wait_s: float = 600.0
    api_key: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request of the demo."""

    task: str
    text: str
    first_s: float  # to the first text or sound
    total_s: float
    pcm: bytes = b""
    wav: Path | None = None


def run(options: Options, console: Console) -> int:
    """The whole demo; gives the exit code.

    Raises:
        ConfigError: the recording or the configuration is not there, or the server did not come.
    """
    if not options.audio_path.is_file():
        raise ConfigError(f"--audio-path {options.audio_path}: no such file")
    require_folder(options.output_dir, "--output-dir")
    if options.start is None:
        return _talk(options, server_url(options.base_url), lambda: None, console)
    with server(options.start, options.output_dir / "server.log", console) as (url, check):
        return _talk(options, url, check, console)


def _talk(
    options: Options, base_url: str, check: Callable[[], str | None], console: Console
) -> int:
    headers = {"Authorization": f"Bearer {options.api_key}"} if options.api_key else {}
    if (notice := unused_proxy(base_url)) is not None:
        say(console, notice)
    with httpx.Client(base_url=base_url, headers=headers, timeout=300, trust_env=False) as client:
        wait_until_ready(client, options.wait_s, check, console)
        model = served_model(client)
        say(console, f"{base_url} serves {model}")
        steps: list[Callable[[], Outcome]] = [
            lambda: transcribe(client, model, options.audio_path),
            lambda: converse(client, model, options),
            lambda: speak(client, model, options),
            lambda: transcribe(client, model, options.output_dir / SPEECH),
        ]
        titles = (
            "transcribe a recording",
            "answer speech with speech",
            "speak a sentence",
            LISTEN,
        )
        outcomes: dict[str, Outcome] = {}
        for number, (title, step) in enumerate(zip(titles, steps, strict=True), 1):
            say(console, f"[{number}/{len(steps)}] {title} …")
            try:
                outcome = step()
            except (EngineFailed, httpx.HTTPError, OSError) as error:
                say(console, f"    failed: {error}")
                continue
            outcomes[title] = outcome
            say(console, f"    text: {outcome.text!r}")
            if outcome.wav is not None:
                say(console, f"    sound: {outcome.wav}")
        console.print(_table(list(outcomes.values())))
        if LISTEN in outcomes:
            say(console, _proof(options.text, outcomes[LISTEN].text))
        return 0 if len(outcomes) == len(steps) else 1


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


def speak(client: httpx.Client, model: str, options: Options) -> Outcome:
    """Stream a sentence as raw PCM."""
    (options.output_dir / SPEECH).unlink(missing_ok=True)  # an earlier run's
    begin = time.perf_counter()
    first_s, pcm = None, bytearray()
    body = {
        "model": model,
        "voice": options.voice,
        "input": options.text,
        "response_format": "pcm",
    }
    with client.stream("POST", "/v1/audio/speech", json=body) as answer:
        _require_ok(answer)
        for piece in answer.iter_bytes():
            first_s = first_s or time.perf_counter() - begin
            pcm += piece
    total_s = time.perf_counter() - begin
    wav = _save(options.output_dir / SPEECH, bytes(pcm))
    return Outcome("speak a sentence", options.text, first_s or total_s, total_s, bytes(pcm), wav)


def converse(client: httpx.Client, model: str, options: Options) -> Outcome:
    """Answer a recording aloud, as a chat does."""
    begin = time.perf_counter()
    first_s, pcm, text = None, bytearray(), ""
    data = base64.b64encode(options.audio_path.read_bytes()).decode("ascii")
    part = {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
    body = {
        "model": model,
        "messages": [{"role": "user", "content": [part]}],
        "modalities": ["text", "audio"],
        "audio": {"voice": options.voice, "format": "pcm16"},
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
    wav = _save(options.output_dir / "answer.wav", bytes(pcm))
    return Outcome("answer speech with speech", text, first_s or total_s, total_s, bytes(pcm), wav)


def _save(path: Path, pcm: bytes) -> Path:
    path.write_bytes(wav_file(pcm))
    return path


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


def _proof(text: str, heard: str) -> str:
    rate = word_error_rate([text], [heard])
    return f"text → speech → text: {text!r} came back as {heard!r}, word error rate {rate:.0%}"


def _table(outcomes: list[Outcome]) -> Table:
    table = Table("request", "first output", "total", "audio", "RTF")
    table.add_column("WAV", overflow="fold")
    for outcome in outcomes:
        audio_s = seconds_of(len(outcome.pcm))
        table.add_row(
            outcome.task,
            f"{outcome.first_s * 1000:.0f} ms",
            f"{outcome.total_s:.2f} s",
            f"{audio_s:.2f} s" if audio_s else "",
            f"{outcome.total_s / audio_s:.2f}" if audio_s else "",
            str(outcome.wav or ""),
        )
    return table
