"""The heap of a process that has started and now serves: its garbage, and its free memory."""

import ctypes
import gc
import threading
import time
from collections.abc import Callable

FULL_EVERY_S = 30.0
RELEASE_EVERY_S = 300.0  # it takes 0.1 s of a slow core
# The three thresholds of `gc.set_threshold`: allocations before a young collection, young ones
# before a middle one, middle ones before a full one. Python's defaults are 700, 10, 10.
# With 64 streams the Ingress holds 27 000 objects: a full collection takes 10 to 20 ms there, and a
# middle one of 7 000 objects up to 6 ms. These values halve the middle ones and make them twice as
# frequent; a full one runs every few minutes.
THRESHOLDS = (700, 5, 1000)


LARGE_BYTES = 256 << 10  # of a block: a recording of 4 s, and more
M_MMAP_THRESHOLD = -3  # of `mallopt` in glibc's malloc.h


def keep_large_blocks_apart() -> None:
    """Have malloc take each large block from the system, and give it back when it is freed.

    Does nothing where malloc is not glibc's. glibc raises that limit by itself, to 32 MiB, with the
    first large blocks that are freed. From then on recordings lie in the heap, between small blocks
    that stay, and the heap of a process that handles recordings grows for hours. Call it at start.
    """
    choose = getattr(ctypes.CDLL(None), "mallopt", None)
    if choose is not None:
        choose(M_MMAP_THRESHOLD, LARGE_BYTES)


def settle_heap() -> None:
    """Exclude all objects that exist now from garbage collection; call it once a replica is warm.

    A full collection visits every tracked object and blocks the event loop: for 0.2 s with torch's
    objects, for 0.4 s with vLLM's 700 000 (two CPU cores). Modules, weights and configuration live
    as long as the process, so nothing is lost by leaving them out. Objects that are made later are
    collected in short steps.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)


class HeapTender:
    """Runs full collections while few wait for an answer, and gives free memory back.

    An error and the frames of its traceback are a cycle, and the frames hold the request's
    recordings. Where such a cycle has lived through a middle collection, only a full one frees it,
    which under light traffic may be hours away. After eight minutes of mixed traffic, garbage of
    750 objects held 8 MB in the ingress, most of which Python does not see.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._collected_s = self._released_s = now_s()

    def tend(self, idle: bool) -> None:
        """Collect if the process is `idle` and the last full collection was some time ago.

        A process that is never idle gives free memory back all the same, from time to time. That
        happens in a thread: the event loop waits only where it needs memory itself meanwhile.
        """
        now_s = self._now_s()
        if idle and now_s - self._collected_s >= FULL_EVERY_S:
            self._collected_s = now_s
            gc.collect()
        elif now_s - self._released_s < RELEASE_EVERY_S:
            return
        self._released_s = now_s
        threading.Thread(target=release_free_memory, name="release-memory").start()


def release_free_memory() -> None:
    """Give the system the pages that malloc has free; does nothing where malloc is not glibc's.

    glibc keeps what lies between blocks that are in use. Steps of many sizes leave such gaps, and a
    process that serves grows for hours although it uses no more than at first.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
