"""What a run of many prompts came to, as a table."""

import statistics

from rich.table import Table

from serve_app.commands.prompts import Result


def statistics_table(results: list[Result], wall_s: float) -> Table:
    """TTFA, RTF, tokens and totals of the jobs that went well."""
    done = [result for result in results if result.error is None]
    cut = sum(result.cut for result in done)
    ttfa = [result.ttfa_s for result in done if result.ttfa_s is not None]
    rtf = [result.total_s / result.audio_s for result in done if result.audio_s]
    tokens = sum(result.completion_tokens for result in done)
    audio_s = sum(result.audio_s for result in done)
    rows = [
        ("prompts", f"{len(done)} done, {len(results) - len(done)} failed"),
        ("cut at the token limit", f"{cut}"),
        ("total", f"{wall_s:.2f} s"),
        ("to the first output, p50 / p90", _percentiles(ttfa, "s")),
        ("RTF of one prompt, p50 / p90", _percentiles(rtf, "")),
        ("audio made", f"{audio_s:.2f} s, {audio_s / wall_s:.2f} s a second"),
        ("tokens in", f"{sum(result.prompt_tokens for result in done)}"),
        ("tokens out", f"{tokens}, {tokens / wall_s:.1f} a second"),
    ]
    table = Table(show_header=False, title="Statistics")
    for name, value in rows:
        table.add_row(name, value)
    return table


def _percentiles(values: list[float], unit: str) -> str:
    if not values:
        return "-"
    if len(values) == 1:
        return f"{values[0]:.3f} {unit}".rstrip()
    p90 = statistics.quantiles(values, n=10, method="inclusive")[-1]
    return f"{statistics.median(values):.3f} / {p90:.3f} {unit}".rstrip()
