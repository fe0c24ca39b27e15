"""A view as a person reads it."""

from collections.abc import Mapping
from datetime import datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from serve_app.commands.top.view import Gpu, Replica, Stage, View

NOTHING = "–"
LITTLE = 0.1  # headroom that is shown in red: one more burst is refused


def screen(view: View, complaint: str | None = None) -> RenderableType:
    """All of `view`; `complaint` says why it is not newer."""
    return Group(*_lines(view, complaint))


def _lines(view: View, complaint: str | None) -> list[RenderableType]:
    lines: list[RenderableType] = [_head(view), _replicas(view.stages), *_answers(view)]
    if view.gpus:
        lines.append(_gpus(view.gpus))
    lines += [Text(f"no metrics from {node}", "yellow") for node in view.nodes_without_metrics]
    lines += [Text(complaint, "red")] if complaint else []
    return lines


def _head(view: View) -> Text:
    at = datetime.fromtimestamp(view.at).astimezone()
    head = Text(f"{view.application}  {view.status}  {at:%H:%M:%S}", "bold")
    streams = "1 stream" if view.streams_open == 1 else f"{view.streams_open} streams"
    head.append(f"  {streams} open, headroom {_share(view.headroom)}")
    if view.figures_age_s is not None:
        head.append(f", figures up to {max(0.0, view.figures_age_s):.0f} s old")
    if view.message:
        head.append(f"\n{view.message}", "yellow")
    return head


def _replicas(stages: tuple[Stage, ...]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("replica", "state"):
        table.add_column(title, no_wrap=True)
    for title in ("streams", "headroom", "running", "waiting", "KV", "node"):
        table.add_column(title, justify="right", no_wrap=True)
    for stage in stages:
        table.add_row(f"{stage.name} {stage.running}/{stage.wanted}", stage.status)
        for replica in stage.replicas:
            table.add_row(*_cells(replica))
    return table


def _cells(replica: Replica) -> tuple[RenderableType, ...]:
    little = replica.headroom is not None and replica.headroom < LITTLE
    places = "" if replica.places is None else f"/{replica.places}"
    return (
        f"  {replica.id}",
        replica.state,
        _number(replica.streams_open) + places,
        Text(_share(replica.headroom), "red" if little else ""),
        _number(replica.requests_running),
        _number(replica.requests_waiting),
        _share(replica.kv_cache_used),
        replica.node or NOTHING,
    )


def _answers(view: View) -> list[Text]:
    since = "since the start" if view.over_s is None else f"in the last {view.over_s:.0f} s"
    resumed = {f"{one.stage} {one.cause}": one.answers for one in view.resumed}
    sound, late = view.first_sound_s, view.late
    return [
        Text(f"answers {since}: {_counts(view.answers)}"),
        Text(f"refused: {_counts(view.refused)}"),
        Text(f"resumed: {_counts(resumed)}"),
        Text(f"first sound: p50 {_seconds(sound.p50)}, p95 {_seconds(sound.p95)}"),
        Text(
            f"late chunks: {_share(late.share)}, p95 {_seconds(late.p95_s)} late, by cause: "
            f"{_counts(late.by_cause)}; gaps heard: {late.underruns}"
        ),
    ]


def _gpus(gpus: tuple[Gpu, ...]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("node", "GPU", "name"):
        table.add_column(title)
    for title in ("memory", "of", "busy"):
        table.add_column(title, justify="right")
    for gpu in gpus:
        memory = (f"{gpu.used_gb:.1f} GB", f"{gpu.total_gb:.1f} GB")
        table.add_row(gpu.node, gpu.index, gpu.name, *memory, _share(gpu.busy))
    return table


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in counts.items()) or "none"


def _number(value: int | None) -> str:
    return NOTHING if value is None else str(value)


def _share(value: float | None) -> str:
    return NOTHING if value is None else f"{100 * value:.0f} %"


def _seconds(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f} s"
