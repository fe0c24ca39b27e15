"""What every test runs under: few threads, no telemetry, Ray Serve as our command starts it."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from serve_app.commands.serving.environment import SWITCHES
from tests.haproxy import own_settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # engine and Ray processes share two cores
for switch, value in SWITCHES.items():
    os.environ.setdefault(switch, value)
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# A server that runs on this machine meanwhile keeps its HAProxy.
haproxy = Path(tempfile.mkdtemp(prefix="haproxy-"))
atexit.register(shutil.rmtree, haproxy, ignore_errors=True)
os.environ |= own_settings(haproxy)
