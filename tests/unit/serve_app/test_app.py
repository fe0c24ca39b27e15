"""The module that Ray Serve imports."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ray import serve

import serve_app.app


def test_importing_builds_no_graph() -> None:
    show = "import serve_app.app; print('default_app' in vars(serve_app.app))"
    done = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_default_graph_is_built_when_it_is_asked_for() -> None:
    assert isinstance(serve_app.app.default_app, serve.Application)
    with pytest.raises(AttributeError, match="no_app"):
        serve_app.app.no_app  # noqa: B018


def test_serve_build_takes_the_default_graph(tmp_path: Path) -> None:
    out = tmp_path / "built.yaml"
    serve_command = Path(sys.executable).parent / "serve"
    subprocess.run([serve_command, "build", "serve_app.app:default_app", "-o", out], check=True)
    (application,) = yaml.safe_load(out.read_text())["applications"]
    assert application["import_path"] == "serve_app.app:default_app"
    names = {deployment["name"] for deployment in application["deployments"]}
    assert names == {"Ingress", "Thinker", "Token2Wav"}
