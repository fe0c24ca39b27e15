"""What came of each request of a soak, counted: an hour of them must fit a small file."""

import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from serve_app.commands.word_error_rate import word_error_rate

EXAMPLES = 60  # of wrong answers, kept in the report
SHOWN = 400  # characters of each


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one request was answered."""

    name: str  # of the kind of request
    status: int  # of HTTP; 0 where no answer came, which a client that leaves wants
    wrong: str | None = None  # why no server may answer so
    of: str = ""  # what exactly was sent, to send it again


@dataclass(frozen=True, slots=True)
class Heard:
    """A sentence, and the words that came back."""

    at_s: float  # since the soak began
    kind: str
    sentence: str
    words: str


@dataclass(slots=True)
class Tally:
    """All outcomes so far."""

    began_s: float = field(default_factory=time.monotonic)
    statuses: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    wrong: int = 0
    examples: list[dict[str, Any]] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)

    @property
    def now_s(self) -> float:
        """Seconds since the soak began."""
        return time.monotonic() - self.began_s

    def add(self, outcome: Outcome) -> None:
        self.statuses[outcome.name][outcome.status] += 1
        if outcome.wrong is None:
            return
        self.wrong += 1
        if len(self.examples) < EXAMPLES:
            cut = {k: v[:SHOWN] if isinstance(v, str) else v for k, v in asdict(outcome).items()}
            self.examples.append({"at_s": round(self.now_s, 1), **cut})

    def hear(self, kind: str, sentence: str, words: str) -> None:
        self.heard.append(Heard(self.now_s, kind, sentence, words))

    def word_errors(self, kind: str, from_s: float, to_s: float) -> tuple[int, float | None]:
        """How many sentences of a kind came back in that time, and their word error rate."""
        some = [h for h in self.heard if h.kind == kind and from_s <= h.at_s < to_s]
        return len(some), _rate(some)

    def by_name(self) -> dict[str, dict[str, int]]:
        return {
            name: {str(status): n for status, n in sorted(counts.items())}
            for name, counts in sorted(self.statuses.items())
        }


def _rate(heard: Sequence[Heard]) -> float | None:
    if not heard:
        return None
    return round(word_error_rate([h.sentence for h in heard], [h.words for h in heard]), 4)
