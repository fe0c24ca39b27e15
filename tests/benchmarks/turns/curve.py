"""False ends against waits: `python -m tests.benchmarks.turns.curve FILE`.

The file is what `run_turns --out` writes. The model's word on the pause and on the end of each turn
is that under `semantic_vad low`, which seldom ends a turn in its pause. Pauses of 400-1500 ms count
as equally frequent, so a wait of W ms ends (1500 - W) / 1100 of the turns whose pause it meets.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from serve_app.sound.turns.end_of_turn_silence import WAITS, Waits
from tests.benchmarks.turns.sounds import PAUSES_MS

RULE = "semantic_vad low"
VAD_MS = 80  # how late voice activity sees the end of a sound (median)
THRESHOLDS = (0.5, 0.8, 0.9, 0.95, 0.97, 0.98, 0.985)


@dataclass(frozen=True, slots=True)
class Words:
    """The model's probabilities that a turn is complete."""

    in_pauses: np.ndarray  # [N]
    at_ends: np.ndarray  # [N]

    @property
    def area(self) -> float:
        """How often an end gets more than a pause: the area under the ROC curve."""
        above = self.at_ends[:, None] > self.in_pauses
        return float(np.mean(above + 0.5 * (self.at_ends[:, None] == self.in_pauses)))


def words(turns: list[dict[str, Any]]) -> Words:
    """Of the turns that were asked about in the pause and at the end."""
    pairs = []
    for turn in turns:
        if turn["rule"] == RULE:
            pause = [word for at_ms, word in turn["judged"] if at_ms < 0]
            end = [word for at_ms, word in turn["judged"] if at_ms > 0]
            if pause and end:
                pairs.append((pause[0], end[-1]))
    return Words(*np.array(pairs).T)


def point(heard: Words, threshold: float, waits: Waits) -> dict[str, float]:
    """One policy: the longer wait below the threshold, the shorter one from it on."""
    pause, end = (
        np.where(each >= threshold, waits.complete, waits.incomplete) + VAD_MS
        for each in (heard.in_pauses, heard.at_ends)
    )
    shortest, longest = PAUSES_MS
    met = np.clip((longest - pause) / (longest - shortest), 0, 1)
    return {
        "threshold": threshold,
        "false_ends_percent": round(100 * float(met.mean()), 1),
        "wait_p50_ms": round(float(np.median(end))),
        "wait_mean_ms": round(float(end.mean())),
    }


def main(file: Annotated[Path, typer.Argument(help="What `run_turns --out` wrote.")]) -> None:
    """Print the curve of each folder, with the waits of `medium`."""
    for source, found in json.loads(file.read_text(encoding="utf-8"))["sources"].items():
        heard = words(found["turns"])
        print(f"{source}: {len(heard.at_ends)} turns, area under the ROC curve {heard.area:.2f}")
        for threshold in THRESHOLDS:
            print(json.dumps(point(heard, threshold, WAITS["medium"])))


if __name__ == "__main__":
    typer.run(main)
