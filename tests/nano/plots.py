"""The losses of every part over its training, one picture a part."""

import csv
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, StrMethodFormatter

# Part: panels of columns that share a scale. Columns that no panel names are in the table only.
_PANELS: Final[Mapping[str, Sequence[Sequence[str]]]] = {
    "speech_tokenizer": (
        ("loss", "ctc", "letter_errors"),
        ("painting", "agreement"),
        ("perplexity",),
        ("used", "same_in_pairs"),
    ),
    "speaker_encoder": (("loss", "speaker", "pitch"), ("wrong",)),
    "vocoder": (
        ("loss", "mel", "voice_mel"),
        ("convergence", "magnitude"),
        ("judge", "fooling", "matching"),
        ("pitch",),
    ),
    "flow": (("loss", "matching", "mu_l1"), ("gradient_norm",)),
    "thinker": (
        ("loss", "codes"),
        ("transcript", "spoken_text", "repeated_text"),
        ("heard_digits", "heard_words"),
        ("transcript_accuracy", "codes_accuracy"),
    ),
}
_RISING: Final = {"perplexity", "used", "transcript_accuracy"}  # the others fall over decades
_SUFFIX: Final = "_losses.csv"
_PANEL_INCHES: Final = (3.4, 2.6)
_DPI: Final = 80  # four panels stay below 60 kB

Columns = Mapping[str, list[tuple[float, float]]]


def main(out: Path, folder: Path) -> None:
    """Draw each table of losses in `out`, and keep the tables and reports beside the pictures.

    Args:
        out: folder that training wrote `*_losses.csv` and `*.json` to.
        folder: gets `<part>.png`, and copies of these if it is another one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if folder.resolve() != out.resolve():
        for path in sorted([*out.glob(f"*{_SUFFIX}"), *out.glob("*.json")]):
            shutil.copyfile(path, folder / path.name)
    for path in sorted(out.glob(f"*{_SUFFIX}")):
        part = path.name.removesuffix(_SUFFIX)
        draw(part, read(path), folder / f"{part}.png")


def read(path: Path) -> Columns:
    """Each column's points (minutes, value); a row may leave a column empty."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name not in ("seconds", "step")]
    return {
        name: [(float(row["seconds"]) / 60, float(row[name])) for row in rows if row[name]]
        for name in names
    }


def draw(part: str, columns: Columns, path: Path) -> None:
    """Write the picture of one part, its panels side by side."""
    panels = _PANELS.get(part, (("loss",),))
    width, height = _PANEL_INCHES
    figure = Figure(figsize=(width * len(panels), height), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, names in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for name in names:
            axes.plot(*zip(*columns[name], strict=True), label=name.replace("_", " "), linewidth=1)
        if not _RISING & set(names):
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1, 0.4)))
        axes.set_xlabel("minutes")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    figure.suptitle(part.replace("_", " "))
    figure.savefig(path, dpi=_DPI)
