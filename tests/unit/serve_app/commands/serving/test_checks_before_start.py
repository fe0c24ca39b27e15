"""What is wrong shows in one line before Ray starts."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.errors import ConfigError
from serve_app.commands.config_file import read_configuration
from serve_app.commands.serving import checks_before_start
from serve_app.commands.serving.environment import PORTS
from serve_app.commands.serving.listeners import free_port

FAKE = "{model: none, thinker: {engine: fake}, token2wav: {engine: fake}}"


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture(autouse=True)
def no_other_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PORTS, "RAY_ADDRESS", "RAY_SERVE_ENABLE_HA_PROXY"):
        monkeypatch.delenv(name, raising=False)


def check(
    folder: Path, args: str = FAKE, http: str | None = None, address: str | None = None
) -> None:
    http = http or f"host: 127.0.0.1, port: {free_port()}"  # a server may have the usual one
    path = folder / "config.yaml"
    path.write_text(f"http_options: {{{http}}}\napplications: [{{name: a, args: {args}}}]\n")
    checks_before_start.check(read_configuration(path), os.environ, address)


def refusal(*args, **options) -> str:
    with pytest.raises(ConfigError) as refused:
        check(*args, **options)
    line = str(refused.value)
    assert "\n" not in line
    return line


def test_a_good_configuration_passes(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    check(tmp_path, http=f"host: 127.0.0.1, port: {port}")


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_taken_port_is_named_with_its_process(tmp_path: Path, taken: int, host: str) -> None:
    line = refusal(tmp_path, http=f"host: {host}, port: {taken}")
    assert line.startswith(f"port {taken} is taken by process {os.getpid()} (")


@pytest.mark.parametrize("name", PORTS)
def test_a_taken_port_of_haproxy_is_named_with_its_variable(
    tmp_path: Path, taken: int, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, str(taken))
    line = refusal(tmp_path, http="host: 127.0.0.1, port: 1024")
    assert line.startswith(f"the port of {name}, {taken} is taken by process {os.getpid()} (")
    monkeypatch.setenv("RAY_SERVE_ENABLE_HA_PROXY", "0")
    check(tmp_path, http="host: 127.0.0.1, port: 1024")


@pytest.mark.parametrize("value", ["http", "0", "70000"])
def test_a_port_of_haproxy_that_is_none_is_refused(tmp_path, value, monkeypatch) -> None:
    monkeypatch.setenv("RAY_SERVE_HAPROXY_STATS_PORT", value)
    assert "RAY_SERVE_HAPROXY_STATS_PORT must be a port" in refusal(tmp_path)


@pytest.mark.parametrize("host", ["'::1'", "'::'", "192.0.2.7", "127.0.0.2"])
def test_a_host_where_haproxy_would_reach_no_replica_is_refused(tmp_path: Path, host: str) -> None:
    line = refusal(tmp_path, http=f"host: {host}")
    assert line.startswith(f"http_options.host {host.strip(chr(39))}: HAProxy reaches the replicas")


def test_without_haproxy_ipv6_may_be_listened_on(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("RAY_SERVE_ENABLE_HA_PROXY", "0")
    check(tmp_path, http="host: '::1', port: 1024")


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert "there is no model directory" in refusal(tmp_path, args=f"{{model: {tmp_path}/none}}")


def test_a_model_without_its_files_is_named(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    assert "config.json" in refusal(tmp_path, args=f"{{model: {tmp_path}/model}}")


def test_the_model_of_another_machine_is_not_looked_for_here(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as cluster:
        address = f"127.0.0.1:{cluster.getsockname()[1]}"
        check(tmp_path, args="{model: /models/there}", address=address)


def test_an_unknown_key_is_named(tmp_path: Path) -> None:
    assert "max_stream" in refusal(tmp_path, args="{model: m, token2wav: {max_stream: 1}}")


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_dead_cluster_is_named(tmp_path: Path, scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"{scheme}127.0.0.1:{listener.getsockname()[1]}"
    line = refusal(tmp_path, address=address)
    assert line.startswith(f"there is no Ray cluster at {address}: ")


def test_a_folder_of_temporary_files_that_is_too_deep_is_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", f"/tmp/{'deep' * 10}")
    line = refusal(tmp_path, http="host: 127.0.0.1, port: 1024")
    assert line.startswith("RAY_TMPDIR is too long for the sockets in it: ")


def test_keys_and_the_folder_of_spoken_turns_are_tried(tmp_path: Path) -> None:
    for fault in (f"spoken_turn_keys_file: {tmp_path}/gone", "spoken_turns_folder: /dev/null/x"):
        args = FAKE.replace("{model", f"{{http: {{{fault}}}, model")
        assert fault.partition(":")[0] in refusal(tmp_path, args)
