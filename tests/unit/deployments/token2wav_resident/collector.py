"""Python's garbage collector at every point of a call, one after another."""

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

DEADLOCK_S = 60.0  # far more than any of the calls takes
MOST_ALLOCATIONS = 100  # of containers, in one call
NEVER = 1_000_000


@contextmanager
def _restored() -> Iterator[None]:
    before = gc.get_threshold()
    gc.freeze()  # only what the test makes is looked at
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def collect_anywhere_in(call: Callable[[], object], forget: Callable[[], object]) -> None:
    """Call again and again; the collector finds what was forgotten at another allocation each time.

    Args:
        call: what must neither block itself nor raise.
        forget: returns what is left to the collector, in a cycle, before each call.
    """
    raised: list[BaseException] = []

    def run() -> None:
        try:
            for allocations in range(MOST_ALLOCATIONS):
                gc.set_threshold(NEVER)
                gc.collect()
                cycle: list[object] = [forget()]
                cycle.append(cycle)
                del cycle
                gc.set_threshold(gc.get_count()[0] + allocations)
                call()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    with _restored():
        thread.start()
        thread.join(DEADLOCK_S)
    assert not thread.is_alive(), "it waits for a lock that it holds itself"
    assert not raised, raised
