"""The figures of `bench speech` as a PNG; matplotlib comes with the extra `bench`."""

from collections.abc import Sequence
from pathlib import Path

from serve_app.bench.speech import Level


class PlotUnavailable(Exception):
    """matplotlib is not installed."""

    def __init__(self) -> None:
        super().__init__("a plot needs matplotlib: pip install 'step-audio2-serve[bench]'")


def require_matplotlib() -> None:
    """Raise PlotUnavailable before a long measurement, not after it."""
    try:
        import matplotlib  # noqa: F401  only whether it is there
    except ImportError as error:
        raise PlotUnavailable() from error


def plot_speech(levels: Sequence[Level], path: Path) -> None:
    """Draw TTFA, throughput and smoothness over the levels, in the order they were run."""
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    labels = [level.arrivals.label for level in levels]
    at = range(len(labels))
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    FigureCanvasAgg(figure)  # draws without a display
    ttfa, throughput, smooth = figure.subplots(1, 3)
    for name in ("p50", "p90", "p99"):
        values = [
            1000 * getattr(level.summary.ttfa_s, name) if level.summary.ttfa_s else float("nan")
            for level in levels
        ]
        ttfa.plot(at, values, marker="o", label=name)
    ttfa.set_title("time to first audio (ms)")
    ttfa.legend()
    throughput.bar(at, [level.summary.audio_s_per_s for level in levels])
    throughput.set_title("audio seconds per second")
    shares = [100 * (level.summary.requests_without_underrun or 0.0) for level in levels]
    smooth.bar(at, shares)
    smooth.axhline(95, color="black", linewidth=0.8, linestyle="--")  # held in real time
    smooth.set_title("requests without underrun (%)")
    for axes, top in ((ttfa, None), (throughput, None), (smooth, 102)):
        axes.set_xticks(list(at), labels)
        axes.set_ylim(bottom=0, top=top)
        axes.grid(axis="y", alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
