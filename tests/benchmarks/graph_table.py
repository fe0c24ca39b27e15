"""The results of a run as a table of plain text, short enough for the end of a log."""

from typing import Any

WIDTHS = (30, 9, 15, 15, 15, 9, 9, 9)
HOLDS = 3  # of a loop, the longest ones
HEAD = (
    "phase",
    "answered",
    "TTFA p50/p90 ms",
    "total p50/p90 s",
    "gap p50/p90 ms",
    "smooth %",
    "stall s",
    "audio-s/s",
)


def print_table(document: dict[str, Any]) -> None:
    """What was measured, then where the time of the start went, memory, and what is wrong."""
    gpu = document["gpu"]
    print(f"\n{gpu['name'] if gpu else 'no GPU'}, {document['cpus']} cores; "
          f"proxy {document.get('proxy')}; " + ", ".join(
              f"{name} {found}" for name, found in document["packages"].items()))  # fmt: skip
    print(_line(HEAD))
    for phase in document["phases"]:
        print(_line(_cells(phase)) + _trouble(phase))
    for phase in document["phases"]:
        if phase.get("kind") == "first":
            _print_first(phase)
        if "thinker" in phase:
            _print_thinker(phase["phase"], phase["thinker"])
        for stage, report in phase.get("loops", {}).items():
            _print_loop(stage, report)
        if phase.get("steps"):
            _print_steps(phase["phase"], phase["steps"])
        if "delay_s" in phase:
            print(f"{phase['phase']}: adds {1000 * phase['delay_s']['p50']:.1f} ms (p50), "
                  f"{100 * phase['cpu_share']:.0f} % of a core")  # fmt: skip
    print("seconds from the start: " + ", ".join(
        f"{what} {at}" for what, at in document["seconds"].items()))  # fmt: skip
    peaks = ", ".join(
        f"{phase['phase']} {phase['peak_gpu_mib']}"
        for phase in document["phases"]
        if phase.get("peak_gpu_mib")
    )
    print(f"peak GPU memory, MiB: {document.get('peaks_by_gpu_mib')} in all, "
          f"{document.get('gpu_mib_before')} before the start; {peaks}")  # fmt: skip
    print(f"after start: {document.get('memory_after_start')}")
    if document["failure"]:
        print(f"FAILED: {document['failure'][-400:]}")


def _cells(phase: dict[str, Any]) -> tuple[str, ...]:
    summary = phase.get("summary")
    if not summary:
        return (phase["phase"],)
    smooth = summary["requests_without_underrun"]
    return (
        phase["phase"],
        f"{summary['requests'] - summary['failed']}/{summary['requests']}",
        _two(summary["ttfa_s"], 1000, 0),
        _two(summary["latency_s"], 1, 2),
        _two(summary["gap_s"], 1000, 0),
        "–" if smooth is None else f"{100 * smooth:.1f}",
        f"{summary['stalled_s']:.2f}",
        f"{summary['audio_s_per_s']:.1f}",
    )


def _trouble(phase: dict[str, Any]) -> str:
    found = []
    if phase.get("error"):
        found.append(phase["error"])
    if phase.get("cut_after_s"):
        found.append(f"cut after {phase['cut_after_s']:.0f} s")
    if phase.get("answers_of_wrong_length"):
        found.append(f"{phase['answers_of_wrong_length']} of wrong length")
    outcomes = (phase.get("summary") or {}).get("outcomes", {})
    found += [f"{outcome}: {n}" for outcome, n in outcomes.items() if outcome != "ok"]
    return "  ! " + "; ".join(found) if found else ""


def _print_first(phase: dict[str, Any]) -> None:
    rows = [row for row in phase["requests"] if "ttfa_s" in row]
    if rows:
        ttfa = " ".join(f"{1000 * row['ttfa_s']:.0f}" for row in rows)
        total = " ".join(f"{row['latency_s']:.2f}" for row in rows)
        print(f"{phase['phase']}: TTFA ms {ttfa}; total s {total}")


def _print_thinker(name: str, figures: dict[str, Any]) -> None:
    print(f"{name}: first chunk {1000 * figures['first_chunk_s']['p50']:.0f} ms, "
          f"whole {figures['latency_s']['p50']:.2f} s, {figures['ms_per_token']:.2f} ms a token, "
          f"{figures['tokens_per_s']:.0f} tokens/s")  # fmt: skip


def _print_loop(stage: str, report: dict[str, Any]) -> None:
    late = report["late_s"]
    print(f"loop of {stage}, {report['watched_s']:.0f} s: late p50 {1000 * late['p50']:.1f} ms, "
          f"p99 {1000 * late['p99']:.1f}, max {1000 * late['max']:.1f}; over 5 ms "
          f"{report['over_limit']} of {report['beats']}, "
          f"computing {report['computed_over_limit']}")  # fmt: skip
    print(f"    {report['callbacks']} callbacks, over 5 ms {report['callbacks_over_limit']}, "
          f"computing {report['callbacks_computed_over_limit']}; "
          f"between them at most {1000 * report['untimed_longest_s']:.1f} ms")  # fmt: skip
    for one in report["longest_callbacks"][:HOLDS]:
        took, computed = 1000 * one["took_s"], 1000 * one["computed_s"]
        print(f"    callback of {took:.1f} ms, of which {computed:.1f} computing: "
              f"{one['name']}: {one['doing']}")  # fmt: skip
    for hold in report["longest"][:HOLDS]:
        print(f"    {1000 * hold['late_s']:.1f} ms, of which {1000 * hold['computed_s']:.1f} "
              f"computing: {hold['doing']}")  # fmt: skip
    for generation, culprit in report["collections"].items():
        print(f"    collections of generation {generation}: {culprit['times']}, "
              f"longest {1000 * culprit['longest_s']:.1f} ms")  # fmt: skip


def _print_steps(name: str, steps: dict[str, Any]) -> None:
    slack = ", ".join(f"{k} {1000 * v:.0f}" for k, v in steps["slack_s"].items())
    print(f"steps of {name}: {steps['steps']} of {steps['chunks']} chunks, busy "
          f"{steps['busy_s']:.2f} of {steps['over_s']:.2f} s, "
          f"p50 {1000 * steps['step_s']['p50']:.1f} ms, "
          f"p99 {1000 * steps['step_s']['p99']:.1f}; slack ms {slack or '–'}; late "
          f"{steps['late']}: tokens {steps['late_by_tokens']}, waiting {steps['late_by_waiting']}, "
          f"step {steps['late_by_step']}")  # fmt: skip
    print("    rows: " + ", ".join(
        f"{rows}×{count} ({1000 * steps['step_s_by_rows'][rows]:.0f} ms)"
        for rows, count in steps["rows"].items()))  # fmt: skip


def _two(values: dict[str, float] | None, scale: float, digits: int) -> str:
    if values is None:
        return "–"
    return f"{scale * values['p50']:.{digits}f} / {scale * values['p90']:.{digits}f}"


def _line(cells: tuple[str, ...]) -> str:
    first, *rest = (f"{cell:>{width}}" for cell, width in zip(cells, WIDTHS, strict=False))
    return f"{first.strip():<{WIDTHS[0]}}" + " ".join(rest)
