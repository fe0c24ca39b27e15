"""`step-audio2 end2end` as a user types it, on a cluster that runs already; fake engines."""

import json
import subprocess
import sys
import time
import wave
from pathlib import Path

import pytest
import ray
import yaml
from ray import serve

from deployments.thinker.fake import audio_tokens_of
from serve_app.commands.end2end import APP_NAME
from tests.integration.graph.conftest import fake_graph

COMMAND = Path(sys.executable).parent / "step-audio2"
VOICE = Path(__file__).parents[3] / "deployments" / "token2wav" / "assets" / "default_voice.wav"


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("config") / "fake.yaml"
    arguments = fake_graph().model_dump(mode="json") | {"model": str(path.parent)}
    path.write_text(yaml.safe_dump({"applications": [{"name": "x", "args": arguments}]}))
    return path


def end2end(config: Path, out: Path, *options: str) -> subprocess.CompletedProcess:
    address = ray.get_runtime_context().gcs_address
    where = ["--stage-configs-path", config, "--output-dir", out, "--ray-address", address]
    command = [COMMAND, "end2end", *options, *where]
    return subprocess.run(command, capture_output=True, text=True, timeout=200)


def test_text_becomes_sound_and_its_files_have_the_known_names(base_url, config, tmp_path):
    ran = end2end(
        config, tmp_path, "--query-type", "text_to_audio", "--text", "hello", "--num-prompts", "2"
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    for number in ("00000", "00001"):
        assert (tmp_path / f"{number}_text.txt").read_text().strip() == "hello"
        with wave.open(str(tmp_path / f"{number}_output.wav")) as file:
            assert file.getnframes() == 960 * len(audio_tokens_of("hello"))


def test_a_file_that_is_no_recording_is_named_and_the_others_are_done(base_url, config, tmp_path):
    (tmp_path / "bad.wav").write_bytes(b"not a recording")
    ran = end2end(
        config,
        tmp_path / "out",
        *("--query-type", "audio_to_text", "--audio-path", str(VOICE)),
        *("--audio-path", str(tmp_path / "bad.wav"), "--enable-stats"),
    )
    assert ran.returncode == 1
    assert "bad.wav" in ran.stdout + ran.stderr
    assert (tmp_path / "out" / "00000_text.txt").read_text().startswith("heard 6.1")


def test_a_second_run_into_the_same_folder_changes_nothing_there(base_url, config, tmp_path):
    options = ("--query-type", "text_to_audio", "--text", "hello")
    assert end2end(config, tmp_path, *options).returncode == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    ran = end2end(config, tmp_path, *options, "--text", "again")
    assert ran.returncode == 2
    assert ran.stderr.count("\n") == 1 and "--overwrite" in ran.stderr
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before

    ran = end2end(config, tmp_path, "--query-type", "text_to_audio", "--text", "a", "--overwrite")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert (tmp_path / "00000_text.txt").read_text() == "a\n"


def test_an_answer_that_was_cut_is_named_on_the_console(base_url, config, tmp_path):
    options = ("--query-type", "text_to_audio", "--text", "hello", "--max-tokens", "8")
    ran = end2end(config, tmp_path, *options)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "hello: the answer was cut at its limit of 8 tokens" in ran.stdout
    assert "1 of 1 done, 1 of them cut at the token limit" in ran.stdout


def test_a_killed_run_keeps_what_was_done(base_url, config, tmp_path):
    out = tmp_path / "out"
    address = ray.get_runtime_context().gcs_address
    where = ["--stage-configs-path", config, "--output-dir", out, "--ray-address", address]
    command = [COMMAND, "end2end", "--query-type", "text_to_audio", "--text", "hello " * 20]
    running = subprocess.Popen([*command, "--num-prompts", "100000", *where])
    try:
        results = out / "results.jsonl"
        ends_s = time.monotonic() + 120
        while not (results.exists() and results.read_bytes().count(b"\n") > 20):
            assert time.monotonic() < ends_s and running.poll() is None
            time.sleep(0.05)
    finally:
        running.kill()
        running.wait()
        serve.delete(APP_NAME)
    done = [json.loads(line) for line in results.read_text().splitlines()]
    for result in done:
        with wave.open(str(out / f"{result['index']:05d}_output.wav")) as file:
            assert file.getnframes() == 960 * len(audio_tokens_of("hello " * 20))
