"""A soak's report: what was asked and answered, what the processes held, and what did not hold."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import median
from typing import Any

from tests.benchmarks.soak.honest import CHAT, SPEECH, TRANSCRIPTION
from tests.benchmarks.soak.log_watch import LogWatch
from tests.benchmarks.soak.outcomes import Tally
from tests.benchmarks.soak.processes import Sample

QUARTERS = 4
MAX_MORE_WORD_ERRORS = 0.01
# What nano says, heard by itself, is drawn with another seed each time: one word in 100 is wrong.
MAX_SPEECH_WORD_ERRORS = 0.05
MAX_GROWTH = 0.05  # from the second quarter's median to the last one's
MAX_MORE_DESCRIPTORS = 32  # connections come and go
FEWEST_SAMPLES = 8  # two for each quarter
MIB = 1 << 20
HELD: dict[str, Callable[[Sample], float]] = {
    "resident_mib": lambda s: s.resident_bytes / MIB,
    "private_mib": lambda s: s.private_bytes / MIB,
    "descriptors": lambda s: s.descriptors,
    "threads": lambda s: s.threads,
    "processes": lambda s: s.processes,
}


def report(
    tally: Tally, samples: Sequence[Sample], logs: LogWatch, quiet_s: float, ran_s: float
) -> dict[str, Any]:
    """All of it, ready for JSON; times are seconds since the soak began."""
    document = {
        "ran_s": round(ran_s, 1),
        "quiet_s": round(quiet_s, 1),
        "requests": sum(sum(counts.values()) for counts in tally.statuses.values()),
        "words": _words(tally, quiet_s, ran_s),
        "processes": _processes(samples, ran_s),
        "logs": {
            "tracebacks": logs.tracebacks,
            "errors": logs.errors,
            "of_controller": logs.of_controller,
            "examples": logs.examples,
        },
        "wrong": tally.wrong,
        "wrong_examples": tally.examples,
        "answers": tally.by_name(),
    }
    failures = _failures(document)
    return {"passed": not failures, "failures": failures, **document}


def _words(tally: Tally, quiet_s: float, ran_s: float) -> dict[str, Any]:
    """Word errors of the quiet time, and of the quarters of the time beside hostile clients."""
    edges = [0.0, *(quiet_s + (ran_s - quiet_s) * n / QUARTERS for n in range(QUARTERS + 1))]
    rows: dict[str, Any] = {}
    for kind in (TRANSCRIPTION, CHAT, SPEECH):
        measured = [tally.word_errors(kind, *span) for span in pairwise(edges)]
        beside = tally.word_errors(kind, quiet_s, float("inf"))
        rows[kind] = {
            "sentences": [count for count, _ in measured],
            "quiet": measured[0][1],
            "quarters": [rate for _, rate in measured[1:]],
            "beside": beside[1],
        }
    return rows


def _processes(samples: Sequence[Sample], ran_s: float) -> dict[str, Any]:
    if not samples:
        return {}
    first, last = samples[0], samples[-1]
    took_s = last.at_s - first.at_s
    return {
        "samples": len(samples),
        "server_cores": round((last.cpu_s - first.cpu_s) / took_s, 3) if took_s else None,
        "quarters": {name: _quarters(samples, ran_s, value) for name, value in HELD.items()},
        "private_mib_by_minute": _by_minute(samples),
        "private_mib_by_name": {
            name: [round(each.by_name[name] / MIB, 1) for each in (first, last)]
            for name in sorted(last.by_name | first.by_name)
        },
        "stages_at_first": first.stages,
        "stages_changed": sorted({str(s.stages) for s in samples if s.stages != first.stages}),
    }


def _by_minute(samples: Sequence[Sample]) -> list[int]:
    """The first sample of each minute."""
    first = {int(s.at_s // 60): s for s in reversed(samples)}
    return [round(first[minute].private_bytes / MIB) for minute in sorted(first)]


def _quarters(
    samples: Sequence[Sample], ran_s: float, value: Callable[[Sample], float]
) -> list[float | None]:
    """The median of each quarter of the time."""
    parts: list[list[float]] = [[] for _ in range(QUARTERS)]
    for sample in samples:
        parts[min(int(QUARTERS * sample.at_s / ran_s), QUARTERS - 1)].append(value(sample))
    return [round(median(part), 1) if part else None for part in parts]


def _failures(document: dict[str, Any]) -> list[str]:
    found = []
    if document["wrong"]:
        found.append(f"{document['wrong']} answers were wrong")
    logs = document["logs"]
    if logs["tracebacks"] or logs["errors"]:
        found.append(f"the logs hold {logs['tracebacks']} tracebacks, {logs['errors']} errors")
    found += _word_failures(document["words"])
    if document["processes"]:
        found += _process_failures(document["processes"])
    return found


def _word_failures(words: dict[str, Any]) -> list[str]:
    found = []
    for kind in (TRANSCRIPTION, CHAT):
        quiet, beside = words[kind]["quiet"], words[kind]["beside"]
        if quiet is not None and beside is not None and beside > quiet + MAX_MORE_WORD_ERRORS:
            found.append(f"word errors of a {kind}: {beside} after {quiet}")
    spoken = words[SPEECH]["beside"]
    if spoken is not None and spoken > MAX_SPEECH_WORD_ERRORS:
        found.append(f"word errors of speech that is heard again: {spoken}")
    return found


def _process_failures(processes: dict[str, Any]) -> list[str]:
    found = []
    if processes["stages_changed"]:
        found.append(f"a stage's process was replaced: {processes['stages_changed'][:3]}")
    if processes["samples"] < FEWEST_SAMPLES:
        return found
    for name, quarters in processes["quarters"].items():
        second, last = quarters[1], quarters[-1]
        room = MAX_MORE_DESCRIPTORS if name == "descriptors" else second * MAX_GROWTH
        if last > second + room:
            found.append(f"{name} grew from {second} to {last}")
    return found


def table(document: dict[str, Any]) -> str:
    """The report for a person, in a few lines."""
    answers, words = document["answers"], document["words"]
    totals: dict[str, int] = {}
    for counts in answers.values():
        for status, n in counts.items():
            totals[status] = totals.get(status, 0) + n
    lines = [
        f"after {document['ran_s']:.0f} s: {document['requests']} requests, {totals}",
        f"  wrong {document['wrong']}, tracebacks {document['logs']['tracebacks']}, "
        f"errors in the logs {document['logs']['errors']}, health {answers.get('health')}",
    ]
    lines += [
        f"  word errors of {kind}: quiet {row['quiet']}, quarters {row['quarters']} "
        f"({row['sentences']} sentences)"
        for kind, row in words.items()
    ]
    if processes := document["processes"]:
        lines += [f"  {name}, by quarter: {held}" for name, held in processes["quarters"].items()]
        lines.append(f"  the server takes {processes['server_cores']} cores")
    return "\n".join(lines + [f"  FAILED: {failure}" for failure in document["failures"]])
