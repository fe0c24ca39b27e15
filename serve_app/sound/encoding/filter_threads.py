"""How FFmpeg behaves in this process."""

import ctypes
from functools import cache

import av._core


@cache
def use_no_threads() -> None:
    """Make FFmpeg believe that this process has one processor.

    PyAV converts each encoder's samples in a filter graph, and FFmpeg starts threads with each
    graph, more on more processors: two with every open encoder on a machine of two. None has work.
    """
    ctypes.CDLL(av._core.__file__).av_cpu_force_count(1)  # libavutil's, which this file links
