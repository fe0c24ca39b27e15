"""The silence that ends a semantic turn, by how complete its words sound. Pure."""

from dataclasses import dataclass

from serve_app.sound.turns.turn_settings import Eagerness

ASKED_AT_MS = 128
"""The silence at which the model is asked, once. Four frames, some 200 ms after the last sound.

The longer a silence that it hears, the more complete it calls the words before: after half a second
it says 0.97 of half a sentence.
"""

MOST_TRAILING_MS = 500  # of a turn's last silence: the model that answers needs no more of it


SURE = 0.95
"""From this probability on, a turn counts as complete. Below it, all words count as a part.

One threshold is enough: where pauses of 400-1500 ms are equally frequent, a wait between two others
gives as many false ends as both of them in turns, for the same wait on average (docs/turns.md).
"""


@dataclass(frozen=True, slots=True)
class Waits:
    """Silences in ms that end a turn."""

    complete: int
    """The words sound complete, with `SURE` or more."""

    unknown: int
    """The model was not asked, or has not answered yet."""

    incomplete: int
    """They sound like a part."""

    def after(self, complete: float | None) -> int:
        """The wait in ms after the model's word: the probability that the turn is complete."""
        if complete is None:
            return self.unknown
        return self.complete if complete >= SURE else self.incomplete


WAITS: dict[Eagerness, Waits] = {
    "low": Waits(complete=1300, unknown=1450, incomplete=2500),
    "medium": Waits(complete=250, unknown=1000, incomplete=1600),
    "high": Waits(complete=200, unknown=600, incomplete=900),
}
WAITS["auto"] = WAITS["medium"]
