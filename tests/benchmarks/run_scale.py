"""What a stream costs from 1 to 10 000: HTTP measured, the rest with its own objects.

    python -m tests.benchmarks.run_scale --out tests/benchmarks/cpu_scale.json

- `ingress`: the HTTP application in a process of its own, over a backend that sends sound at the
  pace of its playback; once more behind the HAProxy that Ray brings
- `router`: Serve's and our part of choosing among the replicas that so many streams need
- `one_replica`: admission and schedule where one Token2Wav has all of the streams
- `cluster`: all streams over as many Token2Wavs as they need, in virtual time

CPU times are those of the processes, so another's work on the machine changes them little. They
are of the machine at hand.
"""

import argparse
import json
import os
import platform
from collections.abc import Callable
from pathlib import Path

from serve_app.whole_files import write_whole
from tests.benchmarks.scale import ingress, router, token2wav

PARTS = ("router", "one_replica", "cluster", "ingress")
STREAMS = (1, 10, 100, 1000, 10_000)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--listeners", type=int, nargs="*", default=[1, 10, 100, 200, 400, 1000])
    options.add_argument("--streams", type=int, nargs="*", default=list(STREAMS))
    options.add_argument("--seconds", type=float, default=8.0, help="at each level of listeners")
    options.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS))
    chosen = options.parse_args()
    measure: dict[str, Callable[[], object]] = {
        "router": lambda: router.measured(chosen.streams),
        "one_replica": lambda: token2wav.one_replica(chosen.streams),
        "cluster": lambda: token2wav.cluster(chosen.streams),
        "ingress": lambda: ingress.measured(chosen.listeners, chosen.seconds),
    }
    figures: dict[str, object] = {
        "machine": {"processors": os.cpu_count(), "python": platform.python_version()}
    }
    for part in chosen.only:
        figures[part] = measure[part]()
        write_whole(chosen.out, (json.dumps(figures, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
