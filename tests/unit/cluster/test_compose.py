"""compose.yaml starts what the images have, and asks for health as the server answers it."""

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, ClassVar

import pytest
from typer.testing import CliRunner

from serve_app.commands import cli
from serve_app.commands.config_file import EVERY_INTERFACE, read_configuration
from serve_app.commands.serving.session import GRACE_S
from tests.unit.cluster.manifests import CLUSTER, load
from tests.unit.cluster.test_image import instructions, recipe

COMPOSE = load(CLUSTER / "compose.yaml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DEFAULTS = re.compile(r"\$\{\w+:-([^}]*)\}")
every_service = pytest.mark.parametrize("name", SERVICES)


def command(name: str) -> list[str]:
    return [DEFAULTS.sub(r"\1", word) for word in SERVICES[name]["command"]]


def recipe_of(name: str) -> str:
    build = SERVICES[name]["build"]
    path = (CLUSTER / build["context"] / build["dockerfile"]).resolve()
    assert path.parent == CLUSTER and path.is_file()
    return path.name


@every_service
def test_each_is_started_by_its_profile(name) -> None:
    assert SERVICES[name]["profiles"] == [name]
    assert f"--profile {name} up" in (CLUSTER / "compose.yaml").read_text(encoding="utf-8")


@every_service
def test_its_command_serves_at_every_address_of_the_container(name, monkeypatch) -> None:
    served: list[Any] = []
    monkeypatch.setattr(
        "serve_app.commands.serving.command.run", lambda *how: served.append(how) or 0
    )
    monkeypatch.setattr("serve_app.commands.serving.session.end_as", lambda status: None)
    program, *arguments = command(name)
    assert program == "step-audio2"
    assert CliRunner().invoke(cli.cli, arguments).exit_code == 0
    ((config, _, host, port),) = served
    assert read_configuration(config).listening_at(host, port).host in EVERY_INTERFACE
    assert read_configuration(config).listening_at(host, port).port == 8000


@every_service
def test_it_has_no_more_rights_than_it_needs(name) -> None:
    service = SERVICES[name]
    assert service["user"] == instructions(recipe_of(name), "USER")[-1][0] != "0:0"
    assert service["cap_drop"] == ["ALL"] and service["init"] is True
    assert "no-new-privileges:true" in service["security_opt"]
    (port,) = service["ports"]
    assert DEFAULTS.sub(r"\1", port) == "127.0.0.1:8000:8000"


@every_service
def test_its_volumes_are_declared_and_belong_to_its_user(name) -> None:
    for volume, path in (mount.split(":") for mount in SERVICES[name]["volumes"]):
        assert volume in COMPOSE["volumes"]
        # a new volume has the rights of the folder that it covers
        assert re.search(rf"install -d -o 1000 -g 1000 .*{path}\b", recipe(recipe_of(name)))


@every_service
def test_streams_have_their_time_when_it_stops(name) -> None:
    assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) > GRACE_S


def test_the_gpu_is_asked_for_where_one_is_needed() -> None:
    (device,) = SERVICES["gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
    assert "deploy" not in SERVICES["cpu"]


class Health(BaseHTTPRequestHandler):
    status: ClassVar[int] = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/health" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def port() -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), Health) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
@every_service
def test_its_health_check_is_what_the_server_says(name, status, healthy, port, monkeypatch) -> None:
    monkeypatch.setattr(Health, "status", status)
    kind, program, option, code = SERVICES[name]["healthcheck"]["test"]
    assert (kind, program, option) == ("CMD", "python", "-c")
    code = code.replace(":8000/", f":{port}/")
    checked = subprocess.run([sys.executable, option, code], capture_output=True, timeout=30)
    assert (checked.returncode == 0) is healthy
