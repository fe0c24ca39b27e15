"""The command: a plan in one of its forms."""

from typing import Literal

from deployments.errors import ConfigError
from serve_app.commands.planning.manifests import ray_service, serve_config, written
from serve_app.commands.planning.measured import gpus
from serve_app.commands.planning.report import report
from serve_app.commands.planning.sizing import Wanted, plan_for

Form = Literal["report", "serve", "rayservice"]


def text_of(wanted: Wanted, available: int | None, form: Form) -> str:
    """The plan as text, which ends with a newline.

    Args:
        available: GPUs that there are; None where that is open.

    Raises:
        ConfigError: nothing is known of that GPU, or there are too few.
    """
    if wanted.gpu not in gpus():
        raise ConfigError(f"nothing was measured on {wanted.gpu}; known are: {', '.join(gpus())}")
    plan = plan_for(wanted)
    if available is not None and plan.gpus > available:
        units = available // plan.layout.gpus - wanted.spare
        carried = max(0, units) * plan.level.listeners
        raise ConfigError(
            f"{wanted.listeners} listeners need {plan.gpus} GPUs; {available} carry {carried}"
            + (f" with {wanted.spare} to spare" if wanted.spare else "")
        )
    if form == "report":
        return report(plan)
    return written(serve_config(plan) if form == "serve" else ray_service(plan))
