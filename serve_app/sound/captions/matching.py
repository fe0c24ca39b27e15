"""Pauses of a spoken answer → the borders between words that they lie at.

Pauses and borders are matched in order, so that each stretch of speech between two of them takes
about the time that its letters need. A pause lies rather at a full stop than at a comma, and rather
at one of these than between any two words; some pauses have no border, and some borders no pause.
The cheapest way to match them is found as both come (Viterbi). How quickly somebody speaks follows
from the matches, and before there are some, from the syllables that were counted.

The costs were chosen by trial, on speech whose word times are known
(tests/benchmarks/run_captions.py).
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

SPREAD_S, SPREAD = 0.05, 0.11  # how far a stretch of 1 s is off its letters: √(0.05² + 0.11²) s
FINAL_S = 0.12  # a word before a pause is drawn out, so long at a quick voice's pace

NO_SIGN_COST, COMMA_COST = 2.0, 0.3  # of a pause behind a word without a sign, and behind a comma
COMMA_S, STOP_S = 0.1, 0.3  # what a border asks for, at least, to count as comma or as full stop
SKIPPED_BORDER_COST = 10.0  # without a pause, for each second of quiet that it asks for
SHORT_S = 0.08  # a pause of so much may lie within a word
SKIPPED_PAUSE_COST, MOST_SKIPPED_PAUSE_COST = 80.0, 6.0  # without a border, a second over `SHORT_S`

NEAR_S, NEAR = 1.0, 0.4  # borders are tried that lie 1 s and 40 % of a stretch from the expected
LAYERS = 4  # how many matched pauses back a stretch may begin

USUAL_PACE = 1.35  # seconds that take a quick voice one: about 15 letters a second
USUAL_SYLLABLES = 20  # counted ones that weigh as much as the usual pace
SYLLABLE_SPREAD = 0.7  # how far one counted syllable is off


class Match(NamedTuple):
    """A border, and where it lies in the speech."""

    border: int  # the number of words before it
    voiced_s: float  # the speech before it, without any pause


@dataclass(frozen=True, slots=True, eq=False)
class _Layer:
    """A pause, and the B borders that it may lie at."""

    pause: int
    voiced_s: float
    borders: Array  # [B] int
    costs: Array  # [B] of the cheapest way that ends with each
    before: Array  # [B] int: the layer before on that way
    places: Array  # [B] int: the border in that layer


class Matching:
    """Of one answer. Words come in order, and so do pauses."""

    def __init__(self) -> None:
        self.lengths_s = [0.0]  # of the words before each border, as a quick voice says them
        self._sign_costs: list[float] = []  # of a pause, for each border with a word behind it
        self._border_costs = [0.0]  # of the borders before each one, if none has a pause
        self._pause_costs = [0.0]  # of the pauses before each one, if none has a border
        start = np.zeros(1, int)
        self._layers = [_Layer(-1, 0.0, start, np.zeros(1), start, start)]
        self._last = Match(0, 0.0)
        self._ended = False
        self.expect_pace(0, USUAL_PACE)

    @property
    def pace(self) -> float:
        """Seconds that this answer takes for what takes a quick voice one."""
        said_s = self._last.voiced_s + self._usual_pace * self._usual_s
        return said_s / (self.lengths_s[self._last.border] + self._usual_s)

    def expect_pace(self, syllables: float, pace: float) -> None:
        """The pace that so many counted syllables give, for as long as there are few matches."""
        known = USUAL_SYLLABLES + syllables
        self._usual_pace = (USUAL_SYLLABLES * USUAL_PACE + syllables * pace) / known
        self._usual_s = known * (SPREAD / SYLLABLE_SPREAD) ** 2  # what it weighs beside matches

    def add_word(self, length_s: float, asked_s: float) -> None:
        """The next word, and the quiet that the text before it asks for."""
        if asked_s:
            self.lengths_s[-1] += FINAL_S
        self.lengths_s.append(self.lengths_s[-1] + length_s)
        self._sign_costs.append(_sign_cost(asked_s))
        self._border_costs.append(self._border_costs[-1] + SKIPPED_BORDER_COST * asked_s)

    def add_pause(self, voiced_s: float, length_s: float, ended: bool) -> bool:
        """The next pause and the speech before it.

        False: the words around it are not yet known. `ended`: there will be no more of them.
        """
        expected_s = self.lengths_s[self._last.border]
        expected_s += (voiced_s - self._last.voiced_s) / self.pace
        if expected_s > self.lengths_s[-1] and not ended:
            return False
        near_s = (NEAR_S + NEAR * (voiced_s - self._last.voiced_s)) / self.pace
        first = max(1, bisect_left(self.lengths_s, expected_s - near_s))
        behind = min(len(self._sign_costs), bisect_right(self.lengths_s, expected_s + near_s))
        if first < behind:
            self._layers.append(self._layer(voiced_s, np.arange(first, behind)))
        cost = min(SKIPPED_PAUSE_COST * max(0.0, length_s - SHORT_S), MOST_SKIPPED_PAUSE_COST)
        self._pause_costs.append(self._pause_costs[-1] + cost)
        self._last = self.matches()[-1]
        return True

    def finish(self, voiced_s: float) -> None:
        """The end of the last word, after so much speech."""
        self.lengths_s[-1] += FINAL_S
        end = np.array([len(self.lengths_s) - 1])
        if end[0]:
            self._layers.append(self._layer(voiced_s, end))
            self._pause_costs.append(self._pause_costs[-1])
            self._ended = True
            self._last = self.matches()[-1]

    def matches(self) -> list[Match]:
        """The borders that have a pause, by the cheapest way so far; the speech's beginning too."""
        found = [Match(int(layer.borders[place]), layer.voiced_s) for layer, place in self._way()]
        return found[::-1]

    def _layer(self, voiced_s: float, borders: Array) -> _Layer:
        """The cheapest ways to a pause, for each border that it may lie at."""
        first = max(0, len(self._layers) - LAYERS)
        costs = [self._costs(layer, voiced_s, borders) for layer in self._layers[first:]]
        layers = np.repeat(np.arange(first, len(self._layers)), [len(cost) for cost in costs])
        places = np.concatenate([np.arange(len(cost)) for cost in costs])
        every = np.concatenate(costs)
        best = every.argmin(axis=0)
        signs = np.array([*self._sign_costs, 0.0])[borders]
        lowest = every[best, np.arange(len(borders))] + signs
        pause = len(self._pause_costs) - 1
        return _Layer(pause, voiced_s, borders, lowest, layers[best], places[best])

    def _costs(self, layer: _Layer, voiced_s: float, borders: Array) -> Array:
        """[B of `layer`, B] of the ways from there to borders of the pause after `voiced_s`."""
        lengths_s, skipped = np.array(self.lengths_s), np.array([*self._border_costs, 0.0])
        before_s = lengths_s[layer.borders][:, None]
        known_s = layer.voiced_s + self._usual_s
        pace = (layer.voiced_s + self._usual_pace * self._usual_s) / (before_s + self._usual_s)
        said_s = voiced_s - layer.voiced_s
        off_s = said_s - (lengths_s[borders] - before_s) * pace
        variance = SPREAD_S**2 + SPREAD**2 * said_s * (1 + said_s / known_s)
        costs = off_s**2 / (2 * variance)
        costs += skipped[borders] - skipped[layer.borders + 1][:, None]
        costs += layer.costs[:, None] + self._unmatched(layer)
        costs[borders <= layer.borders[:, None]] = np.inf
        return costs

    def _unmatched(self, layer: _Layer) -> float:
        """The cost of the pauses after that of `layer`, if none has a border."""
        return self._pause_costs[-1] - self._pause_costs[layer.pause + 1]

    def _way(self) -> Iterator[tuple[_Layer, int]]:
        """The cheapest way, backwards."""
        recent = self._layers[-1 if self._ended else -LAYERS :]
        costs = [layer.costs.min() + self._unmatched(layer) for layer in recent]
        index = len(self._layers) - len(recent) + int(np.argmin(costs))
        place = int(self._layers[index].costs.argmin())
        while index:
            layer = self._layers[index]
            yield layer, place
            index, place = int(layer.before[place]), int(layer.places[place])
        yield self._layers[0], 0


def _sign_cost(asked_s: float) -> float:
    """Of a pause at a border that asks for so much quiet."""
    if asked_s >= STOP_S:
        return 0.0
    return COMMA_COST if asked_s >= COMMA_S else NO_SIGN_COST
