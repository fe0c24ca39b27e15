"""Hostile recordings beside honest clients: `python -m tests.benchmarks.run_hostile`.

Three phases against a server that runs: honest clients alone, the same beside hostile ones, and
alone again, for what was spoilt would be given out again then. Every hostile recording must be
refused with a 400, no honest answer may be nonsense, word errors may not grow by more than a
point, and `/health` must stay ok. Prints a table, writes JSON, and fails where one does not hold.
"""

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from serve_app.bench.inputs import synthetic_wav
from serve_app.bench.measures import percentiles
from serve_app.commands.word_error_rate import word_error_rate
from tests.benchmarks.graph_load import expected_audio_s
from tests.benchmarks.hostile_clients import (
    HONEST_KINDS,
    TRANSCRIPTION,
    Answer,
    Clients,
    HonestSound,
    Server,
)
from tests.benchmarks.hostile_sounds import HostileSound, hostile_sounds

PHASES = (("quiet", False), ("beside hostile ones", True), ("quiet again", False))
SYNTHETIC = 64
SYNTHETIC_S = (2.0, 4.0, 8.0)
MAX_MORE_WORD_ERRORS = 0.01
EXAMPLES = 20  # of each kind of trouble, kept in the report


@dataclass(frozen=True, slots=True)
class Load:
    """Who asks what, for how long."""

    sounds: Sequence[HonestSound]
    kinds: Sequence[str]
    clients: int
    hostile_sounds: Sequence[HostileSound]
    hostile_clients: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Phase:
    """What everybody was answered."""

    name: str
    honest: list[Answer]
    hostile: list[Answer]
    health: list[int]


async def run(server: Server, load: Load) -> dict[str, Any]:
    """Measure, and report."""
    return report(await measure(server, load), load.hostile_sounds)


async def measure(
    server: Server, load: Load, transport: httpx.AsyncBaseTransport | None = None
) -> list[Phase]:
    """The three phases. A `transport` takes the network's place."""
    async with Clients(server, transport) as clients:
        return [await _phase(clients, load, name, hostile) for name, hostile in PHASES]


async def _phase(clients: Clients, load: Load, name: str, hostile: bool) -> Phase:
    until_s = time.monotonic() + load.seconds
    count = load.hostile_clients if hostile else 0
    honest, refused, health = await asyncio.gather(
        clients.honest(load.kinds, load.sounds, load.clients, until_s),
        clients.hostile(load.hostile_sounds, count, until_s),
        clients.health(until_s),
    )
    return Phase(name, honest, refused, health)


def report(phases: Sequence[Phase], hostile: Sequence[HostileSound]) -> dict[str, Any]:
    """What the phases showed, ready for JSON."""
    sounds = {sound.name: sound for sound in hostile}
    rows = [_phase_row(phase, sounds) for phase in phases]
    return {"passed": not _failures(rows), "failures": _failures(rows), "phases": rows}


def _phase_row(phase: Phase, sounds: dict[str, HostileSound]) -> dict[str, Any]:
    nonsense = [a for a in phase.honest if a.problem]
    failed = [a for a in phase.honest if a.status != httpx.codes.OK and not a.refused]
    wrong = [a for a in phase.hostile if a.status not in sounds[a.of].allowed]
    answered = [a for a in phase.honest if a.status == httpx.codes.OK]
    latency_s = percentiles(a.latency_s for a in answered)
    return {
        "phase": phase.name,
        "honest": len(phase.honest),
        "answered": dict(Counter(a.kind for a in answered)),
        "refused": sum(a.refused for a in phase.honest),
        "failed": len(failed),
        "nonsense": len(nonsense),
        "word_error_rate": _word_errors(answered),
        "latency_s": latency_s and {"p50": latency_s.p50, "p90": latency_s.p90},
        "hostile": _by_sound(phase.hostile),
        "hostile_wrongly_answered": len(wrong),
        "health": {str(status): n for status, n in Counter(phase.health).items()},
        "examples": [_example(a) for a in (nonsense + failed + wrong)[:EXAMPLES]],
    }


def _word_errors(answered: Sequence[Answer]) -> float | None:
    """Of the transcriptions whose sentences are known; None where there is none."""
    pairs = [(a.of, a.text) for a in answered if a.kind == TRANSCRIPTION and a.of]
    return round(word_error_rate(*zip(*pairs, strict=True)), 4) if pairs else None


def _by_sound(answers: Sequence[Answer]) -> dict[str, dict[str, int]]:
    """How often each recording was answered how, both ways of sending it counted together."""
    counts: dict[str, Counter[str]] = {}
    for answer in answers:
        counts.setdefault(answer.of, Counter())[str(answer.status)] += 1
    return {name: dict(count) for name, count in counts.items()}


def _example(answer: Answer) -> dict[str, Any]:
    return {
        "kind": answer.kind,
        "of": answer.of,
        "status": answer.status,
        "text": answer.text[:200],
        "problem": answer.problem,
    }


def _failures(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What did not hold; empty where all did."""
    quiet = rows[0]
    found = [
        f"{row['phase']}: {row[what]} {what.replace('_', ' ')}"
        for row in rows
        for what in ("failed", "nonsense", "hostile_wrongly_answered")
        if row[what]
    ]
    found += [f"{row['phase']}: nobody was answered" for row in rows if not row["answered"]]
    found += [
        f"{row['phase']}: word errors {row['word_error_rate']} after {quiet['word_error_rate']}"
        for row in rows
        if row["word_error_rate"] is not None
        and row["word_error_rate"] > quiet["word_error_rate"] + MAX_MORE_WORD_ERRORS
    ]
    found += [
        f"{row['phase']}: /health said {row['health']}"
        for row in rows
        if set(row["health"]) - {"200"}
    ]
    return found


def print_table(document: dict[str, Any]) -> None:
    for row in document["phases"]:
        print(
            f"{row['phase']}: {row['honest']} honest, answered {row['answered']}, refused "
            f"{row['refused']}, failed {row['failed']}, nonsense {row['nonsense']}, word errors "
            f"{row['word_error_rate']}, health {row['health']}, hostile wrongly answered "
            f"{row['hostile_wrongly_answered']}"
        )
        for name, counts in row["hostile"].items():
            print(f"    {name}: {counts}")
    for failure in document["failures"]:
        print(f"FAILED: {failure}")


def honest_sounds(kept: bool) -> list[HonestSound]:
    """nano's held-out sentences, or synthetic speech that says nothing."""
    if not kept:
        return [
            HonestSound(synthetic_wav(SYNTHETIC_S[n % len(SYNTHETIC_S)], seed=n))
            for n in range(SYNTHETIC)
        ]
    from tests.nano.recordings import kept as recordings  # its corpus is not carried everywhere

    return [HonestSound(one.wav, one.sentence) for one in recordings()]


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--url", default="http://127.0.0.1:8000")
    add("--model", default="step-audio-2-mini")
    add("--sentences", action="store_true", help="nano's held-out sentences; else synthetic speech")
    add("--kinds", default=",".join(HONEST_KINDS), type=lambda text: text.split(","))
    add("--clients", type=int, default=64)
    add("--hostile-clients", type=int, default=8)
    add("--seconds", type=float, default=15.0, help="of each phase")
    add("--max-tokens", type=int, help="of chat completions")
    add("--exact", action="store_true", help="an answer aloud has just --max-tokens tokens")
    add("--out", type=Path, default=Path("hostile.json"))
    options = parser.parse_args()
    if options.exact and options.max_tokens is None:
        parser.error("--exact needs --max-tokens")
    return options


def main() -> int:
    options = parse_options()
    audio_s = expected_audio_s(options.max_tokens) if options.exact else None
    server = Server(options.url, options.model, options.max_tokens, audio_s)
    load = Load(
        honest_sounds(options.sentences),
        options.kinds,
        options.clients,
        hostile_sounds(),
        options.hostile_clients,
        options.seconds,
    )
    document = asyncio.run(run(server, load))
    options.out.write_text(json.dumps({"command": sys.argv, **document}, indent=1) + "\n")
    print_table(document)
    return 0 if document["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
