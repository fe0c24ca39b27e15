"""The silence that ends a semantic turn, by how complete its words sound. Pure."""

from dataclasses import dataclass

from serve_app.sound.turns.turn_settings import Eagerness

ASKED_AT_MS = 128
"""The silence at which the model is asked, once. Four frames, some 200 ms after the last sound.

The longer a silence that it hears, the more complete it calls the words before: after half a second
it says 0.97 of half a sentence.
"""

MOST_TRAILING_MS = 500  # of a turn's last silence: the model that answers needs no more of it


@dataclass(frozen=True, slots=True)
class Waits:
    """Silences in ms: the bounds within which the model's word counts."""

    shortest: int
    """The words sound complete with `SURE`."""

    likely: int
    """They sound complete with `LIKELY`."""

    unknown: int
    """The model was not asked, or has not answered yet."""

    longest: int
    """They sound like a part."""

    def after(self, complete: float | None) -> int:
        """The wait in ms after the model's word: the probability that the turn is complete."""
        if complete is None:
            return self.unknown
        if complete >= SURE:
            return self.shortest
        return self.likely if complete >= LIKELY else self.longest


SURE, LIKELY = 0.97, 0.5
WAITS: dict[Eagerness, Waits] = {
    "low": Waits(shortest=1000, likely=1600, unknown=1600, longest=2500),
    "medium": Waits(shortest=250, likely=1300, unknown=1000, longest=1800),
    "high": Waits(shortest=200, likely=700, unknown=600, longest=1000),
}
WAITS["auto"] = WAITS["medium"]
