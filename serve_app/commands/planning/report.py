"""A plan in words: what is needed, what that stands on, and what is not known."""

from collections.abc import Iterator

from serve_app.commands.planning.measured import Goal, Level
from serve_app.commands.planning.sizing import Plan

GIB_IN_MIB = 1024
MOST_THROUGH_ONE_INGRESS = 320  # listeners at once, in any run of the table


def report(plan: Plan) -> str:
    """The whole of it, a line each."""
    return "\n".join([*_needs(plan), "", *_stands_on(plan), "", *_unknown(plan), ""])


def _needs(plan: Plan) -> Iterator[str]:
    wanted, layout = plan.wanted, plan.layout
    lost = f"; {plan.carries_without_spare} with {wanted.spare} unit lost" if wanted.spare else ""
    yield f"{wanted.listeners} listeners at once on {wanted.gpu}: {_goal(wanted.goal)}"
    yield f"  GPUs        {plan.gpus}, {layout.name}"
    yield f"  replicas    {plan.units} Thinker, {plan.units} Token2Wav, 1 ingress"
    yield f"  carries     {plan.carries} listeners{lost}"
    yield f"  GPU memory  {layout.gpu_mib / GIB_IN_MIB:.0f} GiB of each"
    yield "  placement   one replica of a stage on a node, so a node or a pod for each GPU"


def _stands_on(plan: Plan) -> Iterator[str]:
    yield "It stands on what was measured:"
    yield f"  {_measured(plan.level)}"
    if (fails := plan.layout.fails_at(plan.wanted.goal)) is not None:
        yield f"  {_measured(fails)}: too many"
    for level in plan.layout.levels:
        if level.listeners < plan.level.listeners and not level.meets(plan.wanted.goal):
            yield f"  {_measured(level)}: fewer listeners, and yet below the goal in that run"


def _unknown(plan: Plan) -> Iterator[str]:
    wanted, level, goal = plan.wanted, plan.level, plan.wanted.goal
    yield "What is not known:"
    if level.gapless_share_at_least < goal.without_gap:
        yield (
            f"  whether {100 * goal.without_gap:g} % hold: {level.heard} answers show "
            f"{100 * level.gapless_share_at_least:.1f} % at least (95 % confidence)"
        )
    if plan.units > 1:
        yield (
            f"  {plan.units} of them together: one was measured, and the sum is assumed. A replica "
            "that is lost makes others repeat its sound for a while"
        )
    if wanted.listeners > MOST_THROUGH_ONE_INGRESS:
        yield (
            f"  one ingress with {wanted.listeners} listeners: {MOST_THROUGH_ONE_INGRESS} is the "
            "most that was measured. Several need shared spoken turns (docs/configuration.md)"
        )
    if (fails := plan.layout.fails_at(goal)) is None:
        yield f"  how many more than {level.listeners} one carries: no more were tried"
    elif fails.listeners > level.listeners:
        yield (
            f"  what one carries between {level.listeners} and {fails.listeners} listeners; "
            f"straight lines between the two cross the goal at {plan.layout.crosses(goal)}"
        )
    yield (
        "  other traffic: answers were spoken texts, 6.5 s long in the mean, in one voice. "
        "Recordings as input, long chats and new voices cost more"
    )
    yield "  your GPUs: `step-audio2 bench speech` measures what they carry"


def _goal(goal: Goal) -> str:
    gaps, refused = f"{100 * goal.without_gap:g} %", f"{100 * goal.refused:g} %"
    return f"≥ {gaps} of the answers without a gap, ≤ {refused} refused"


def _measured(level: Level) -> str:
    files = ", ".join(dict.fromkeys(level.files))
    return (
        f"{level.listeners} listeners: {100 * level.gapless_share:.1f} % of {level.heard} answers "
        f"without a gap, {100 * level.refused_share:.1f} % refused ({files})"
    )
