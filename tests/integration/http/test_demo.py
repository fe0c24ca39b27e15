"""The demo against a real server over fake engines."""

import asyncio
import os
import socket
import subprocess
import wave
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from deployments.errors import ConfigError
from deployments.thinker.fake import audio_tokens_of
from serve_app.commands import demo
from serve_app.commands.own_server import watch
from serve_app.commands.serving.environment import PORTS
from tests.integration.http.conftest import Graph


@pytest.fixture(autouse=True)
def ports_are_free_to_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Ray of other tests may have the ports that these variables name."""
    for name in PORTS:
        monkeypatch.delenv(name, raising=False)


async def run(options: demo.Options) -> tuple[int, str]:
    console = Console(record=True, width=120, force_terminal=False)
    code = await asyncio.to_thread(demo.run, options, console)
    return code, console.export_text()


async def test_it_transcribes_speaks_and_answers(listening: Any, tmp_path: Path) -> None:
    graph = Graph()
    await graph.backend.start()
    async with listening(graph.app) as url:
        code, shown = await run(demo.Options(base_url=url, output_dir=tmp_path, text="Hello"))
    assert code == 0
    assert "text: 'heard 6.15 s'" in shown
    for name, text in (("speech.wav", "Hello"), ("answer.wav", "heard 6.15 s")):
        assert str(tmp_path / name) in shown.replace("\n", "")
        with wave.open(str(tmp_path / name)) as wav:
            assert wav.getnframes() == 960 * len(audio_tokens_of(text))


async def test_a_server_that_only_transcribes_fails_the_spoken_steps_alone(
    listening: Any, tmp_path: Path
) -> None:
    graph = Graph()
    graph.backend._synthesizer = None
    await graph.backend.start()
    async with listening(graph.app) as url:
        code, shown = await run(demo.Options(base_url=url, output_dir=tmp_path))
    assert code == 1
    assert "text: 'heard 6.15 s'" in shown and shown.count("failed: 400") == 2


async def test_a_server_that_never_becomes_ready_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"was not ready after 0\.1 s"):
        await run(demo.Options(base_url="http://127.0.0.1:9", output_dir=tmp_path, wait_s=0.1))


async def test_a_server_is_not_started_where_one_listens_already(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        config = tmp_path / "config.yaml"
        args = "{model: none, thinker: {engine: fake}, token2wav: {engine: fake}}"
        config.write_text(
            f"http_options: {{host: 127.0.0.1, port: {port}}}\napplications: [{{args: {args}}}]\n"
        )
        with pytest.raises(ConfigError, match=rf"^port {port} is taken by process {os.getpid()} "):
            await run(demo.Options(start=config, output_dir=tmp_path))


async def test_a_server_whose_model_is_not_there_is_given_up_at_once(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"applications: [{{args: {{model: {tmp_path}/none}}}}]\n")
    with pytest.raises(ConfigError, match=r"^there is no model directory"):
        await run(demo.Options(start=config, output_dir=tmp_path))


def test_a_start_that_a_replica_refuses_is_given_up_with_its_reason(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text("INFO starting\n(replica) ConfigError: the voice 'high' cannot be read\x1b[0m\n")
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            with pytest.raises(ConfigError, match=r"^the voice 'high' cannot be read$"):
                watch(process, log)
            log.write_text("INFO starting\n")
            watch(process, log)
        finally:
            process.kill()


@pytest.mark.parametrize("written", ["{host}", "{host}/v1", "http://{host}/v1/"])
async def test_a_server_is_found_however_its_address_is_written(
    listening: Any, tmp_path: Path, written: str
) -> None:
    graph = Graph()
    await graph.backend.start()
    async with listening(graph.app) as url:
        base_url = written.format(host=url.removeprefix("http://"))
        code, _ = await run(demo.Options(base_url=base_url, output_dir=tmp_path, text="Hello"))
    assert code == 0


@pytest.mark.parametrize("base_url", ["http://127.0.0.1:99999", "ftp://127.0.0.1", ""])
async def test_an_address_where_no_server_can_be_is_refused(base_url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="base URL"):
        await run(demo.Options(base_url=base_url, output_dir=tmp_path))


async def test_a_proxy_of_the_environment_is_passed_by_and_named(
    listening: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    graph = Graph()
    await graph.backend.start()
    async with listening(graph.app) as url:
        code, shown = await run(demo.Options(base_url=url, output_dir=tmp_path, text="Hello"))
    assert code == 0 and "http_proxy is not used" in shown
