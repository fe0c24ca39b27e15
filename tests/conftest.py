"""What every test runs under: few threads, no telemetry, Ray Serve as the Makefile starts it."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from tests.haproxy import own_settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # engine and Ray processes share two cores
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_SERVE_THROUGHPUT_OPTIMIZED", "1")
os.environ.setdefault("RAY_SERVE_ENABLE_HA_PROXY", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# With HAProxy a replica that stops drains for 30 s; tests have nobody to wait for.
os.environ.setdefault("RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S", "0")
# A server that runs on this machine meanwhile keeps its HAProxy.
haproxy = Path(tempfile.mkdtemp(prefix="haproxy-"))
atexit.register(shutil.rmtree, haproxy, ignore_errors=True)
os.environ |= own_settings(haproxy)
