"""`step-audio2 batch` against a real HTTP server over fake engines."""

import asyncio
import base64
import json
import signal
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import soundfile
from rich.console import Console

from deployments.errors import ConfigError, ServerFull
from deployments.messages import SpeechDelta, SpeechRequest
from deployments.thinker.fake import audio_tokens_of
from serve_app.commands.batch import command, sending
from tests.integration.http.conftest import Graph
from tests.integration.http.helpers import MODEL, wav_of

CHAT, SPEECH = "/v1/chat/completions", "/v1/audio/speech"
TRANSCRIPTION = "/v1/audio/transcriptions"


def line(custom_id: str, url: str, **body: Any) -> dict[str, Any]:
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": {"model": MODEL, **body}}


def chat(custom_id: str, text: str, **body: Any) -> dict[str, Any]:
    return line(custom_id, CHAT, messages=[{"role": "user", "content": text}], **body)


def speech(custom_id: str, text: str, **body: Any) -> dict[str, Any]:
    return line(custom_id, SPEECH, input=text, voice="default", **body)


class Batch:
    """A folder with the lines of a batch and, once it ran, their answers."""

    def __init__(self, folder: Path) -> None:
        self.lines, self.answers = folder / "in.jsonl", folder / "out.jsonl"

    def write(self, *lines: dict[str, Any] | str) -> None:
        texts = [one if isinstance(one, str) else json.dumps(one) for one in lines]
        self.lines.write_text("".join(f"{text}\n" for text in texts))

    async def run(self, url: str, **options: Any) -> tuple[int, str]:
        console = Console(record=True, width=200, force_terminal=False)
        given = command.Options(self.lines, self.answers, url, **options)
        code = await asyncio.to_thread(command.run, given, console)
        return code, console.export_text()

    def read(self) -> list[Any]:
        return [json.loads(one) for one in self.answers.read_text().splitlines()]

    def count(self) -> int:
        """Whole lines so far."""
        return self.answers.read_bytes().count(b"\n") if self.answers.exists() else 0

    def bodies(self) -> dict[str, Any]:
        return {one["custom_id"]: one["response"]["body"] for one in self.read()}


@pytest.fixture
def batch(tmp_path: Path) -> Batch:
    return Batch(tmp_path)


async def test_every_kind_of_line_is_answered_in_openais_format(
    graph: Graph, listening: Any, batch: Batch
) -> None:
    recording = wav_of(1.5)
    (batch.lines.parent / "tone.wav").write_bytes(recording)
    url_of_data = f"data:audio/wav;base64,{base64.b64encode(recording).decode()}"
    spoken = {"modalities": ["text", "audio"], "audio": {"voice": "default", "format": "wav"}}
    batch.write(
        chat("a", "Good morning"),
        chat("b", "Good night", **spoken),
        speech("c", "Hello there", response_format="flac"),
        line("d", TRANSCRIPTION, file="tone.wav"),
        line("e", TRANSCRIPTION, file=url_of_data, response_format="text"),
        line("f", "/v1/audio/translations", file="tone.wav"),
        line("g", TRANSCRIPTION, file="tone.wav", chunking_strategy={"type": "server_vad"}),
    )
    async with listening(graph.app) as url:
        code, shown = await batch.run(url)
    assert (code, "7 lines answered, 0 failed" in shown) == (0, True)
    for answer in batch.read():
        assert set(answer) == {"id", "custom_id", "response", "error"}
        assert answer["error"] is None and answer["response"]["status_code"] == 200
        assert answer["response"]["request_id"]
    bodies = batch.bodies()
    assert bodies["a"]["choices"][0]["message"]["content"] == "Good morning"
    assert bodies["a"]["service_tier"] == "flex"
    assert base64.b64decode(bodies["b"]["choices"][0]["message"]["audio"]["data"])[:4] == b"RIFF"
    assert bodies["d"]["text"] == "heard 1.50 s" == bodies["f"]["text"]
    assert bodies["e"].strip() == "heard 1.50 s"
    sound = batch.answers.parent / bodies["c"]["file"]
    assert bodies["c"]["bytes"] == sound.stat().st_size
    assert soundfile.info(sound).frames == 960 * len(audio_tokens_of("Hello there"))


async def test_bad_lines_and_failures_are_listed_at_the_end_and_the_others_answered(
    graph: Graph, listening: Any, batch: Batch
) -> None:
    batch.write(chat("a", "One"), "no JSON", chat("a", "Two"), chat("b", "Three", n=2))
    async with listening(graph.app) as url:
        code, shown = await batch.run(url)
    assert code == 1
    assert "line 2: it is no JSON" in shown
    assert "line 3: an earlier line has its custom_id, 'a'" in shown
    assert "'b': 400: n=2 is not supported" in shown
    assert {one["custom_id"]: one["response"]["status_code"] for one in batch.read()} == {
        "a": 200,
        "b": 400,
    }
    errors = (batch.answers.parent / "out.errors.jsonl").read_text().splitlines()
    assert [json.loads(one)["line"] for one in errors] == [2, 3]


async def test_a_second_run_sends_only_what_has_no_answer_and_says_all_that_failed(
    graph: Graph, listening: Any, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch.write(chat("a", "One"), chat("bad", "Two", n=2))
    async with listening(graph.app) as url:
        await batch.run(url)
        first = batch.answers.read_bytes()
        batch.write(chat("a", "One"), chat("bad", "Two", n=2), chat("c", "Three"))
        batch.answers.write_bytes(first + b'{"id": "batch_req_1", "custom_id": "c", "resp')
        code, shown = await batch.run(url)
        assert (code, "'bad': 400" in shown) == (1, True)
        assert batch.answers.read_bytes().startswith(first)
        assert [one["custom_id"] for one in batch.read()][2:] == ["c"]
        sent = len(batch.read())
        assert (await batch.run("http://127.0.0.1:9"))[0] == 1  # nothing is left to be sent
        assert len(batch.read()) == sent


async def test_a_full_server_is_asked_again_until_every_line_is_answered(
    listening: Any, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = Graph(seconds_per_delta=0.001, retry_after_s=0.01)
    await graph.backend.start()
    refused = 0

    def speak(request: SpeechRequest) -> AsyncGenerator[SpeechDelta]:
        nonlocal refused
        refused += 1
        if refused % 2:
            raise ServerFull()
        return served(request)

    served = graph.backend.speech
    monkeypatch.setattr(graph.backend, "speech", speak)
    batch.write(*(speech(f"s{i}", f"Text {i}") for i in range(6)))
    async with listening(graph.app) as url:
        code, _ = await batch.run(url)
    assert code == 0
    assert {one["response"]["status_code"] for one in batch.read()} == {200}


async def test_a_key_that_the_server_refuses_ends_the_run_before_anything_is_written(
    listening: Any, batch: Batch
) -> None:
    graph = Graph(api_keys={"anna": "a key of anna's"})
    await graph.backend.start()
    batch.write(chat("a", "One"))
    async with listening(graph.app) as url:
        with pytest.raises(ConfigError, match="refuses the API key"):
            await batch.run(url, api_key="another")
        assert batch.read() == []
        assert (await batch.run(url, api_key="a key of anna's"))[0] == 0


async def test_a_server_that_goes_away_ends_the_run_and_the_next_one_goes_on(
    listening: Any, batch: Batch
) -> None:
    graph = Graph(seconds_per_delta=0.002)
    await graph.backend.start()
    batch.write(*(chat(f"c{i}", f"A longer text of many words {i}") for i in range(80)))
    async with listening(graph.app) as url:
        running = asyncio.create_task(batch.run(url, wait_s=0.5, concurrency=4))
        while batch.count() < 5:
            await asyncio.sleep(0.01)
    with pytest.raises(sending.ServerGone, match="the same command goes on from here"):
        await running
    assert 0 < len(batch.read()) < 80
    async with listening(graph.app) as url:
        assert (await batch.run(url))[0] == 0
    assert sorted(one["custom_id"] for one in batch.read()) == sorted(f"c{i}" for i in range(80))


async def ended_by(signum: int, batch: Batch, url: str, after_lines: int) -> int:
    """The exit code of a run that gets a signal after so many answers."""
    arguments = ["batch", str(batch.lines), str(batch.answers), "--base-url", url]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "serve_app", *arguments, stdout=asyncio.subprocess.DEVNULL
    )
    while batch.count() < after_lines:
        assert process.returncode is None
        await asyncio.sleep(0.005)
    process.send_signal(signum)
    return await process.wait()


async def test_a_run_that_is_killed_answers_every_line_exactly_once_in_the_end(
    listening: Any, batch: Batch
) -> None:
    graph = Graph(seconds_per_delta=0.005)
    await graph.backend.start()
    good = [speech(f"line {i}", f"Text {i}", response_format="pcm") for i in range(198)]
    batch.write(*good[:100], "{", *good[100:], good[0])
    async with listening(graph.app) as url:
        for lines, signum, status in ((20, signal.SIGINT, 130), (60, signal.SIGKILL, -9)):
            assert await ended_by(signum, batch, url, after_lines=lines) == status
            assert batch.count() < 198
        code, shown = await batch.run(url)
    assert (code, "2 bad lines were not sent" in shown) == (1, True)
    bodies = batch.bodies()
    assert len(batch.read()) == 198
    assert set(bodies) == {one["custom_id"] for one in good}
    for i in range(198):
        sound = (batch.answers.parent / bodies[f"line {i}"]["file"]).read_bytes()
        assert len(sound) == 2 * 960 * len(audio_tokens_of(f"Text {i}"))
    files = list((batch.answers.parent / "out.audio").iterdir())
    assert len(files) == 198  # and nothing that was half written


async def test_the_server_of_a_configuration_runs_as_long_as_the_batch(
    graph: Graph, listening: Any, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    async with listening(graph.app) as url:

        @contextmanager
        def served(config: Path, log: Path, console: Console) -> Iterator[Any]:
            seen.append((config, log))
            yield url, lambda: None
            seen.append(batch.count())

        monkeypatch.setattr(command, "server", served)
        batch.write(chat("a", "One"), chat("b", "Two"))
        assert (await batch.run("http://127.0.0.1:9", start=Path("cpu.yaml")))[0] == 0
        assert seen == [(Path("cpu.yaml"), batch.answers.with_suffix(".log")), 2]
        await batch.run("http://127.0.0.1:9", start=Path("cpu.yaml"))
        assert len(seen) == 2  # nothing is left to be sent: no server is started
