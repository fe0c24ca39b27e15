"""How many units of which layout: pure arithmetic on what was measured."""

import math
from dataclasses import dataclass, field

from deployments.errors import ConfigError
from serve_app.commands.planning.measured import Goal, Layout, Level, layouts

INGRESS_REQUESTS = 1024  # that the shipped manifests let one replica of the ingress have
ROOM_FOR_BURSTS = 2  # times the listeners: requests that are refused hold a place, too


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an operator asks for."""

    listeners: int
    gpu: str
    spare: int = 1
    """Units that may be lost while all listeners still have what they should."""

    goal: Goal = field(default_factory=Goal)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is needed for it."""

    wanted: Wanted
    layout: Layout
    level: Level
    units: int

    @property
    def gpus(self) -> int:
        return self.units * self.layout.gpus

    @property
    def carries(self) -> int:
        """Listeners, with all units."""
        return self.units * self.level.listeners

    @property
    def carries_without_spare(self) -> int:
        return (self.units - self.wanted.spare) * self.level.listeners

    @property
    def ingress_requests(self) -> int:
        """That the ingress must be able to hold at once."""
        return max(INGRESS_REQUESTS, ROOM_FOR_BURSTS * self.wanted.listeners)


def plan_for(wanted: Wanted, known: tuple[Layout, ...] | None = None) -> Plan:
    """The plan with the fewest GPUs; of two alike, that with fewer units.

    Raises:
        ConfigError: nothing was measured on such a GPU, or nothing that met the goal.
    """
    of_kind = [one for one in (known or layouts()) if one.gpu == wanted.gpu]
    if not of_kind:
        raise ConfigError(f"nothing was measured on {wanted.gpu}")
    met = [(layout, layout.carries(wanted.goal)) for layout in of_kind]
    plans = [_plan(wanted, layout, level) for layout, level in met if level is not None]
    if not plans:
        tried = "; ".join(map(_why_not, of_kind))
        raise ConfigError(f"no measurement on {wanted.gpu} met the goal: {tried}")
    return min(plans, key=lambda plan: (plan.gpus, plan.units))


def _plan(wanted: Wanted, layout: Layout, level: Level) -> Plan:
    return Plan(wanted, layout, level, math.ceil(wanted.listeners / level.listeners) + wanted.spare)


def _why_not(layout: Layout) -> str:
    level = layout.levels[0]
    return (
        f"{layout.name}, {level.listeners} listeners: {100 * level.gapless_share:.1f} % of "
        f"{level.heard} answers without a gap, {100 * level.refused_share:.1f} % refused"
    )
