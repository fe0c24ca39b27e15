"""The command line of `run_graph`."""

import argparse
import json
import os
from pathlib import Path

from tests.benchmarks.graph_config import SPEECH

PHASES = (
    "first",
    "together",
    "single",
    "variants",
    "thinker",
    "loops",
    "bursts",
    "closed",
    "listeners",
    "poisson",
    "speech",
    "voices",
    "hostile",
    "alone",
    "client",
    "deaths",
)


def parse_options(description: str | None) -> argparse.Namespace:
    """Of the command line; ends the process where they are wrong."""
    parser = argparse.ArgumentParser(description=description)

    def numbers(text: str) -> list[int]:
        return [int(part) for part in text.split(",") if part]

    add = parser.add_argument
    add("--size", choices=("tiny", "full"), default="full")
    add("--device", choices=("cuda", "cpu"), default="cuda")
    add("--model", type=Path, help="a model directory, made if empty; default: a temporary one")
    add("--out", type=Path, default=Path(os.environ.get("OUT", "build/graph")))
    add("--config", type=Path, help="measure this configuration; random weights, forced answers")
    add("--token2wav", type=json.loads, default={}, help="JSON: more of that section's keys")
    add("--mps", type=numbers, help="share the GPU: per cent of the Thinker, of Token2Wav")
    add("--speech", choices=SPEECH, default="weights", help="what makes random weights speak")
    add("--fp8", action="store_true", help="the Thinker's decoder in fp8")
    add("--memory-gb", type=float, help="bound both stages together, in 10^9 bytes")
    add("--proxy", choices=("auto", "haproxy", "python"), default="auto")
    add("--phases", default=",".join(PHASES), type=lambda t: t.split(","), help="which to run")
    add("--tokens", type=numbers, default=[85, 160, 315, 1024], help="of single requests")
    add("--runs", type=int, default=3, help="of each single request, after a warm-up")
    add("--together", type=numbers, default=[16, 315], help="requests at once, their tokens")
    add("--bursts", type=numbers, default=[128], help="beginnings at one moment, no warm-up")
    add("--variants", type=json.loads, default=[], help="JSON: a list of fields of requests")
    add("--thinker-levels", type=numbers, default=[1, 16, 128], help="requests, Thinker alone")
    add(
        "--watched",
        type=int,
        default=64,
        help="clients while event loops are watched or recordings are hostile",
    )
    add("--levels", type=numbers, default=[1, 16, 64, 128, 192], help="clients of closed loops")
    add("--listeners", type=numbers, default=[128, 192], help="clients that hear answers out")
    add("--rates", type=numbers, default=[], help="Poisson arrivals a second")
    add("--speech-levels", type=numbers, default=[16], help="clients that ask by speech")
    add("--alone-levels", type=numbers, default=[1, 16, 64], help="on the graph without models")
    add("--mix", type=numbers, default=[85, 160, 160, 315, 315], help="tokens under load")
    add("--seconds", type=float, default=20.0, help="in which a load sends requests")
    add("--limit", type=float, default=60.0, help="seconds that one phase may take")
    add("--start-limit", type=float, default=240.0, help="seconds until the graph must be ready")
    add("--budget", type=float, default=540.0, help="seconds that everything may take")
    add("--max-streams", type=int, default=256, help="that the server is sized for")
    options = parser.parse_args()
    if unknown := set(options.phases) - set(PHASES):
        parser.error(f"--phases: {', '.join(sorted(unknown))} not among {', '.join(PHASES)}")
    if len(options.together) != 2:
        parser.error("--together takes two numbers: requests, tokens")
    return options
