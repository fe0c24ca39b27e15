"""Which chunks in the background the next step may take: listeners go first.

A step cannot be interrupted. So a step without a listener's chunk begins only if no listener needs
the engine before it ends, and it is kept small where a new listener may come meanwhile.
"""

from collections.abc import Iterable, Sequence

from deployments.token2wav.schedule import FILL, MARGIN_S, Listener, W

AGED_S = 10.0  # after this wait a chunk goes along with a listener's, where its step has room
LOOK_AGAIN_S = 0.02  # while chunks are kept out: a few steps of the Thinker


def let_in(
    waiting: Sequence[W], listeners: Iterable[Listener], now_s: float, step_s: float
) -> Sequence[W]:
    """`waiting` without the chunks in the background that have to wait longer.

    Args:
        waiting: all chunks that wait for a step.
        listeners: of all open streams.
        now_s: of a monotonic clock.
        step_s: how long a step takes.
    """
    background = [row for row in waiting if row.listener.priority == "background"]
    heard = [one for one in listeners if one.is_heard]
    if not (background and heard):
        return waiting
    live = [row for row in waiting if row.listener.priority == "live"]
    if _needed(live, heard, now_s, step_s):
        aged = [row for row in background if now_s - row.arrived_s >= AGED_S]
        background = aged if live else []
    return [*live, *background]


def most_rows(waiting: Sequence[W], listeners: Iterable[Listener], max_batch: int) -> int:
    """Of the next step: fewer than `max_batch` where a new listener might have to wait for it."""
    live = sum(row.listener.priority == "live" for row in waiting)
    if live == len(waiting) or not any(one.is_heard for one in listeners):
        return max_batch
    return min(max_batch, max(FILL, live))


def _needed(live: Sequence[W], heard: Sequence[Listener], now_s: float, step_s: float) -> bool:
    """Whether a listener waits for the next step, or for one that should begin during it."""
    within_s = step_s + MARGIN_S
    return any(row.listener.is_due(now_s) for row in live) or any(
        one.needs(now_s, within_s).chunks for one in heard
    )
