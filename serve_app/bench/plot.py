"""The figures of `bench speech` as a PNG; matplotlib comes with the extra `bench`."""

import io
from collections.abc import Sequence
from pathlib import Path

from deployments.errors import ConfigError
from serve_app.bench.speech import Level
from serve_app.whole_files import require_new_file, write_whole


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


def require_plot(path: Path, *, overwrite: bool) -> None:
    """Check all that would make a plot fail.

    Raises:
        PlotUnavailable: matplotlib is not installed.
        ConfigError: the path names no format of a picture, cannot be written, or exists and may not
            be replaced.
    """
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    formats = FigureCanvasAgg.get_supported_filetypes()
    if picture_format(path) not in formats:
        raise ConfigError(f"--plot {path} names no format of: {', '.join(sorted(formats))}")
    require_new_file(path, "--plot", overwrite=overwrite)


def picture_format(path: Path) -> str:
    return path.suffix.lower().lstrip(".") or "png"


def plot_speech(levels: Sequence[Level], path: Path) -> None:
    """Draw TTFA, throughput and smoothness over the levels, in the order they were run.

    Raises:
        OSError: the picture cannot be written.
    """
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
    picture = io.BytesIO()
    figure.savefig(picture, dpi=120, format=picture_format(path))
    write_whole(path, picture.getvalue())
