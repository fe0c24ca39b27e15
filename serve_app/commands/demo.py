"""`step-audio2 demo`: real requests to a running server, and what came of them.

With `--start CONFIG` it starts the server itself and stops it afterwards.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from deployments.errors import ConfigError, EngineFailed
from deployments.token2wav.configured_voices import SHIPPED_VOICE
from serve_app.commands.console import say
from serve_app.commands.own_server import server
from serve_app.commands.server_requests import (
    Outcome,
    converse,
    served_model,
    speak,
    transcribe,
)
from serve_app.commands.server_wait import wait_until_ready
from serve_app.commands.word_error_rate import word_error_rate
from serve_app.server_url import server_url, unused_proxy
from serve_app.sound.encoding.pcm import seconds_of
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
        speech, answer = options.output_dir / SPEECH, options.output_dir / "answer.wav"
        steps: list[Callable[[], Outcome]] = [
            lambda: transcribe(client, model, options.audio_path),
            lambda: converse(client, model, options.audio_path, options.voice, answer),
            lambda: speak(client, model, options.text, options.voice, speech),
            lambda: transcribe(client, model, speech),
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
