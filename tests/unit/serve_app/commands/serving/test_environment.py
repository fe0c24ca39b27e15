"""Servers on one machine share no port and no file; traffic between processes meets no proxy."""

import socket
from pathlib import Path

import ray.serve._private.constants as ray_serve

from serve_app.app import STAGE_OPTIONS
from serve_app.commands.serving.environment import (
    HAPROXY,
    PORTS,
    choose_ports,
    haproxy_files,
    server_environment,
)


def test_every_variable_is_one_that_ray_serve_reads(tmp_path: Path) -> None:
    for name in (*PORTS, *haproxy_files(tmp_path), "RAY_SERVE_HAPROXY_BINARY_PATH"):
        assert hasattr(ray_serve, name) or hasattr(ray_serve, name.removeprefix("RAY_SERVE_")), name


def test_two_servers_have_different_ports_and_files(tmp_path: Path) -> None:
    first = choose_ports({})
    sockets = []
    for port in first.values():
        sockets.append(socket.create_server(("127.0.0.1", port)))
    second = choose_ports({})
    for listener in sockets:
        listener.close()
    assert not set(first.values()) & set(second.values())
    one, other = tmp_path / "one", tmp_path / "other"
    files = [set(haproxy_files(folder).values()) for folder in (one, other)]
    assert not files[0] & files[1]


def test_ports_and_switches_of_the_environment_win(tmp_path: Path) -> None:
    wanted = {"RAY_SERVE_HAPROXY_STATS_PORT": "18404", "RAY_SERVE_ENABLE_HA_PROXY": "0"}
    server = server_environment(wanted, tmp_path, choose_ports(wanted))
    assert wanted.items() <= server.items()
    assert server["RAY_SERVE_THROUGHPUT_OPTIMIZED"] == "1"


def test_a_proxy_of_the_environment_is_kept_for_downloads_and_from_grpc(tmp_path: Path) -> None:
    proxy = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    server = server_environment(proxy, tmp_path, choose_ports(proxy))
    assert proxy.items() <= server.items() and server["grpc_proxy"] == ""
    replica = STAGE_OPTIONS["ray_actor_options"]["runtime_env"]["env_vars"]
    assert replica["grpc_proxy"] == ""  # where Ray was started without our command, too


def test_haproxy_is_started_by_our_script_and_is_the_one_that_is_wanted(tmp_path: Path) -> None:
    wanted = {"RAY_SERVE_HAPROXY_BINARY_PATH": "/usr/sbin/haproxy"}
    server = server_environment(wanted, tmp_path, {})
    assert server["RAY_SERVE_HAPROXY_BINARY_PATH"] == str(HAPROXY)
    assert server["STEP_AUDIO2_HAPROXY_BINARY_PATH"] == "/usr/sbin/haproxy"
