"""The examples of docs/api.md run as they stand, those of a language as one program.

Those of docs/realtime.md and interpreter.md are a program each, for the client that stands behind
the language.
"""

import re
import shutil
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

from deployments.audio_decoding import decode_audio
from serve_app.sound.encoding.format_table import FORMATS
from tests.clients.runs import SAMPLE, node_modules, output_of, python_of
from tests.clients.server import OPEN, fake_server
from tests.places import ROOT

PAGE = (ROOT / "docs" / "api.md").read_text("utf-8")
REALTIME = "\n".join(
    (ROOT / "docs" / name).read_text("utf-8") for name in ("realtime.md", "interpreter.md")
)
ADDRESS = "http://127.0.0.1:8000"  # which the examples name
ENDPOINTS = {  # what an example of each language has
    "bash": ("speech", "transcriptions", "translations", "chat/completions", "voices", "models"),
    "python": ("speech", "transcriptions", "translations", "chat.completions", "voices", "models"),
    "js": ("speech", "transcriptions", "translations", "chat.completions", "voices", "models"),
}


def examples(language: str) -> str:
    return "\n".join(re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("language", ENDPOINTS)
def test_every_endpoint_has_an_example(language: str) -> None:
    text = examples(language)
    assert [endpoint for endpoint in ENDPOINTS[language] if endpoint not in text] == []


def sample_pcm() -> bytes:
    """s16le mono 24 kHz."""
    samples, _ = decode_audio(SAMPLE.read_bytes(), 24_000, 60)
    return np.round(32767 * np.clip(samples, -1, 1)).astype("<i2").tobytes()


def printed(command: list[str | Path], language: str, script: str, folder: Path) -> str:
    """What the examples of a language print against a server without keys."""
    for name in ("question.wav", "anna.wav"):
        shutil.copy(SAMPLE, folder / name)
    (folder / "lecture.mp3").write_bytes(FORMATS["mp3"].file(sample_pcm()))
    with fake_server(folder / "voices", **OPEN) as server:
        program = examples(language).replace(ADDRESS, server.url)
        (folder / script).write_text(program)
        return output_of([*command, script], folder, server)


def test_the_examples_in_curl_run(tmp_path: Path) -> None:
    (tmp_path / ".curlrc").write_text("fail\nsilent\nshow-error\n")
    command: list[str | Path] = ["env", f"CURL_HOME={tmp_path}", "bash", "-e"]
    text = printed(command, "bash", "examples.sh", tmp_path)
    assert '"text":"heard 6.15 s"' in text
    assert (tmp_path / "hello.mp3").stat().st_size > 10_000


def test_the_examples_in_python_run(tmp_path: Path) -> None:
    text = printed([sys.executable], "python", "examples.py", tmp_path)
    assert_answered(text, tmp_path, "hello.pcm")
    assert "rain in Bern" in text


def test_the_examples_in_javascript_run(tmp_path: Path) -> None:
    node_modules(tmp_path)
    text = printed(["node"], "js", "examples.mjs", tmp_path)
    assert_answered(text, tmp_path, "hello.mp3")


def assert_answered(text: str, folder: Path, hello: str) -> None:
    assert "What is a glacier?" in text and "And how old is it?" in text
    assert "voice_not_found voice" in text
    for name in (hello, "answer.wav", "answer.pcm"):
        assert (folder / name).stat().st_size > 10_000


def realtime_example(client: str) -> str:
    (example,) = re.findall(rf"^```\w+ {client}\n(.*?)^```$", REALTIME, re.MULTILINE | re.DOTALL)
    return str(example)


@pytest.mark.parametrize(
    ("client", "heard"),
    [
        ("openai_python", "Say hello."),
        ("livekit", "Say hello."),
        ("pipecat", "Say hello."),
        ("agents", "bytes of sound"),
        ("openai_javascript", "Say hello."),
        ("text_stream", "Here is another one"),
        ("interpreter", "heard 3.00 s["),
    ],
)
def test_the_realtime_examples_run(client: str, heard: str, tmp_path: Path) -> None:
    here = Path(sys.executable)
    if client == "openai_javascript":
        node_modules(tmp_path)
        command: list[str | Path] = ["node", "talk.mjs"]
    elif client in ("text_stream", "interpreter"):
        command = [here, "talk.py"]
    else:
        command = [python_of(client, here if client == "openai_python" else None), "talk.py"]
    with wave.open(str(tmp_path / "question.wav"), "wb") as question:
        question.setparams((1, 2, 24_000, 0, "NONE", ""))
        question.writeframes(sample_pcm()[: 2 * 24_000 * 3])
    with fake_server(tmp_path / "voices", **OPEN) as server:
        program = realtime_example(client).replace(
            ADDRESS.partition("//")[2], server.url.partition("//")[2]
        )
        (tmp_path / str(command[-1])).write_text(program)
        assert heard in output_of(command, tmp_path, server)
