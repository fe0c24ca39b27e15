"""The policy as Ray Serve calls it: `autoscaling_policy` of an application.

    autoscaling_policy:
      policy_function: deployments.scaling.ray_policy:Headroom
      policy_kwargs: {load: 0.95, keep_s: 600}

Serve makes one object of it in its controller, and asks it several times a second.
"""

from collections.abc import Mapping
from typing import Any

from deployments.scaling.headroom_policy import HeadroomPolicy, Scaling, Stage
from deployments.scaling.stage_load import ASKED, LOAD, REFUSED

FRESH_S = 15.0  # a replica reports every second, or every ten by Ray's default
OVER_S = 5.0  # what was refused in that time counts

Counts = Mapping[str, tuple[float, float]]  # asked and refused, by replica


class Headroom:
    """Scales every deployment that reports its load; others keep their replicas."""

    def __init__(self, **scaling: Any) -> None:
        """`scaling` are the fields of `Scaling`."""
        self._policy = HeadroomPolicy(Scaling(**scaling))
        self._counts: list[tuple[float, Counts]] = []

    def __call__(self, contexts: Mapping[Any, Any]) -> tuple[dict[Any, int], dict[Any, Any]]:
        """Replicas by deployment, for `AutoscalingContext`s by deployment; and no state."""
        now_s = max((context.current_time for context in contexts.values()), default=0.0)
        stages = {str(key): _stage(context, now_s) for key, context in contexts.items()}
        offered = self._offered(contexts, now_s)
        decided = self._policy.decide(stages, offered, now_s)
        return {key: decided[str(key)] for key in contexts}, {}

    def _offered(self, contexts: Mapping[Any, Any], now_s: float) -> float:
        """Answers that were asked for in the last seconds, in times of those that were let in.

        A request that is refused asks every replica. So it counts once with each of them, and the
        replica that refused the fewest has refused at most a few more than there were.
        """
        self._counts.append((now_s, _counts(contexts, now_s)))
        while len(self._counts) > 2 and self._counts[1][0] <= now_s - OVER_S:
            del self._counts[0]
        before, now = self._counts[0][1], self._counts[-1][1]
        both = before.keys() & now.keys()
        if not both:
            return 1.0
        refused = [now[one][1] - before[one][1] for one in both]
        asked = [now[one][0] - before[one][0] for one in both]
        let_in = sum(asked) - sum(refused)
        return 1.0 + min(refused) / let_in if let_in > 0 else 1.0


def _stage(context: Any, now_s: float) -> Stage:
    loads = _newest(context, LOAD, now_s)
    return Stage(
        loads=loads,
        warm=len(context.running_replicas),
        target=context.target_num_replicas,
        least=context.capacity_adjusted_min_replicas,
        most=context.capacity_adjusted_max_replicas,
    )


def _counts(contexts: Mapping[Any, Any], now_s: float) -> Counts:
    """Of the stage that refuses: Token2Wav is the first that a spoken answer meets."""
    for context in contexts.values():
        refused = _newest(context, REFUSED, now_s)
        if refused and context.deployment_name == "Token2Wav":
            asked = _newest(context, ASKED, now_s)
            return {one: (asked[one], refused[one]) for one in refused if one in asked}
    return {}


def _newest(context: Any, name: str, now_s: float) -> dict[str, float]:
    """The newest value of each replica that runs and has reported lately."""
    running = {str(one) for one in context.running_replicas}
    found: dict[str, float] = {}
    for replica, series in (context.raw_metrics or {}).get(name, {}).items():
        if series and str(replica) in running and series[-1].timestamp > now_s - FRESH_S:
            found[str(replica)] = series[-1].value
    return found
