"""The garbage collector of a process that has started and now serves."""

import gc


def settle_heap() -> None:
    """Let the collector never look again at what lives now: modules, weights, configuration.

    A full collection walks every object that is tracked, and the event loop stands still while it
    does: 0.2 s over what torch brings, 0.4 s with vLLM's 700 000 objects (two CPU cores). Called
    once a replica is warm.
    """
    gc.collect()
    gc.freeze()
