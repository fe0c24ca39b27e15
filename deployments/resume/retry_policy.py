"""How often and how long a stream that lost its replica is tried again."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from deployments.settings import Settings

WAITS_S = (0.0, 0.1, 0.5)  # before the first further attempt, the second…; by chance half more

Sleep = Callable[[float], Awaitable[None]]


class Recovery(Settings):
    """What is done for a stream that lost its replica."""

    tries: Annotated[int, Field(ge=0)] = 3
    """How often it may go on with another, over both stages together; 0: it fails at once."""

    patience_s: Annotated[float, Field(gt=0)] = 10.0
    """How long another replica may take to begin. One that is full or starting counts as well.

    One that sends heartbeats has begun: it may take as long as it needs for its first sound."""

    silence_s: Annotated[float, Field(ge=1.0)] = 2.0
    """A replica that is silent for so long hangs, and its streams go on with another one. So do
    requests that it was sent and has not even begun. Two heartbeats are up to 0.75 s apart."""

    stuck_s: Annotated[float, Field(ge=0.5)] | None = None
    """So does a replica whose engine has been in one step for so long, and it is replaced.

    None: 2 s on a GPU, whose steps take milliseconds, and 60 s on a CPU."""


class Tries:
    """How often a stream may still go on elsewhere, over all stages together."""

    def __init__(self, left: int) -> None:
        self.left = left
        self.spent = 0

    def spend(self) -> None:
        self.left -= 1
        self.spent += 1

    def leave(self, left: int) -> None:
        """Have no more than that left: others have been spent elsewhere."""
        self.left = min(self.left, left)


@dataclass(frozen=True, slots=True)
class Policy:
    """When a stream goes on, and how long it is waited for."""

    is_lost: Callable[[BaseException], bool]
    """Whether an error says that the replica is lost, and not that the request is at fault."""

    note: Callable[[BaseException, Tries], None]
    """Gets what was lost, before the stream goes on."""

    patience_s: float
    """As `Recovery.patience_s`."""

    sleep: Sleep = asyncio.sleep
    chance: Callable[[], float] = random.random  # in [0, 1)
