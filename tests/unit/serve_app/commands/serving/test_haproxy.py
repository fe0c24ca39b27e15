"""HAProxy as our server starts it, with Ray Serve's own template of its configuration."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from ray.serve._private.haproxy_templates import HAPROXY_CONFIG_TEMPLATE

from serve_app.commands.serving.environment import HAPROXY, interpreter_folder
from tests.waiting import wait_until

# The template's frontends and its statistics, with the values that Ray Serve fills in.
BINDS = re.compile(r"^(?:frontend|listen)\s+(\S+)\n\s+bind (\S+)$", re.MULTILINE)
SHOWS_ITS_CONFIGURATION = '#!/bin/sh\ncat "$3"\necho "arguments: $@"\n'
RUNS_ON = "#!/bin/sh\nexec sleep 60\n"
STARTS_HAPROXY = """
import subprocess, sys
print(subprocess.Popen(sys.argv[1:]).pid, flush=True)
sys.stdin.read()
"""


def filled_template() -> str:
    """The lines of Ray Serve's template that bind a port, with values in them."""
    kept = re.findall(
        r"^(?:frontend|listen) .*|^\s+bind .*(?:_port) \}\}$", HAPROXY_CONFIG_TEMPLATE, re.M
    )
    values = {"metrics_port": "9101", "stats_port": "8404", "frontend_port": "8000"}
    values["frontend_host"] = "*"
    return re.sub(r"\{\{ config\.(\w+) \}\}", lambda m: values[m[1]], "\n".join(kept)) + "\n"


def write_program(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def environment(binary: str, **more: str) -> dict[str, str]:
    path = os.pathsep.join([interpreter_folder(), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "STEP_AUDIO2_HAPROXY_BINARY_PATH": binary, **more}


def test_ray_serves_template_opens_statistics_and_metrics_to_every_address() -> None:
    binds = dict(BINDS.findall(filled_template()))
    assert binds == {"prometheus": ":9101", "http_frontend": "*:8000", "stats": "*:8404"}


@pytest.mark.parametrize("host", [None, "10.0.0.7"])
def test_statistics_and_metrics_listen_at_one_address_alone(tmp_path: Path, host) -> None:
    binary = write_program(tmp_path / "binary", SHOWS_ITS_CONFIGURATION)
    configuration = tmp_path / "haproxy.cfg"
    configuration.write_text(filled_template())
    asked = {} if host is None else {"STEP_AUDIO2_METRICS_HOST": host}
    shown = subprocess.run(
        [HAPROXY, "-db", "-f", configuration, "-sf", "1"],
        env=environment(binary, **asked),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    at = host or "127.0.0.1"
    binds = {"prometheus": f"{at}:9101", "http_frontend": "*:8000", "stats": f"{at}:8404"}
    assert dict(BINDS.findall(shown)) == binds
    assert f"arguments: -db -f {configuration} -sf 1" in shown


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_haproxy_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    binary = write_program(tmp_path / "binary", RUNS_ON)
    with subprocess.Popen(
        [sys.executable, "-c", STARTS_HAPROXY, HAPROXY],
        env=environment(binary),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        wait_until(lambda: command(pid).startswith("sleep"))
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        wait_until(lambda: not command(pid))


def test_the_haproxy_of_ray_serve_is_what_runs() -> None:
    shown = subprocess.run(
        [HAPROXY, "-v"],
        env={**environment(""), "RAY_SERVE_HAPROXY_BINARY_PATH": str(HAPROXY)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert shown.startswith("HAProxy version ")


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""
