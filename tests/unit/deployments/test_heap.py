"""The collector of a warm process; each in a process of its own, whose settings may change."""

import platform
import subprocess
import sys

import pytest

SETTLED = """
import gc, weakref
from deployments.heap import settle_heap

class Node: pass

def cycle():
    node = Node()
    node.itself = node
    return weakref.ref(node)

before = cycle()
settle_heap()
assert before() is None, "garbage from before is gone"
assert gc.get_freeze_count() > 1000
full = gc.get_stats()[2]["collections"]
after = cycle()
kept = [[] for _ in range(20_000)]  # what streams allocate: many small things that live a while
assert after() is None, "garbage is still found"
assert gc.get_stats()[2]["collections"] == full, "and no full collection was needed for it"
"""


def test_a_settled_heap_is_collected_in_steps_that_leave_what_was_there_alone():
    subprocess.run([sys.executable, "-c", SETTLED], check=True)


# An error that its own traceback holds, as of a request that outlived two collections.
IDLE = """
import gc, weakref
from deployments.heap import FULL_EVERY_S, HeapTender, settle_heap

class Recording: pass

def refused():
    recording = Recording()
    try:
        raise ValueError
    except ValueError as error:
        kept = error  # with this frame, which holds the recording
    gc.collect(1)  # it lives as long as that
    return weakref.ref(recording)

settle_heap()
now_s = 0.0
collector = HeapTender(lambda: now_s)
recording = refused()
gc.collect(1)
assert recording() is not None, "only a full collection finds it"
now_s = FULL_EVERY_S
collector.tend(idle=False)
assert recording() is not None, "somebody waits for an answer"
collector.tend(idle=True)
assert recording() is None
full = gc.get_stats()[2]["collections"]
now_s += FULL_EVERY_S / 2
collector.tend(idle=True)
assert gc.get_stats()[2]["collections"] == full, "not so soon again"
"""


def test_an_idle_process_frees_what_refused_requests_left():
    subprocess.run([sys.executable, "-c", IDLE], check=True)


# Blocks between others that stay: malloc keeps them when they are free.
FREED = """
import sys, threading
from deployments.heap import FULL_EVERY_S, RELEASE_EVERY_S, HeapTender

IDLE = sys.argv[1] == "idle"

def resident_mib():
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1024

now_s = 0.0
collector = HeapTender(lambda: now_s)
before = resident_mib()
blocks = [bytes([number % 256]) * 60_000 for number in range(2_000)]
stays = blocks[::50]
del blocks
assert resident_mib() > before + 50, "malloc kept them"
collector.tend(idle=IDLE)
assert resident_mib() > before + 50, "not so soon"
now_s = FULL_EVERY_S if IDLE else RELEASE_EVERY_S
collector.tend(idle=IDLE)
for thread in threading.enumerate()[1:]:
    thread.join()
assert resident_mib() < before + 10
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another malloc than glibc's")
@pytest.mark.parametrize("process", ["idle", "busy"])
def test_a_process_gives_free_memory_back(process: str):
    subprocess.run([sys.executable, "-c", FREED, process], check=True)


# Recordings of many lengths come and go, and each leaves a little that stays.
RECORDINGS = """
import random, sys
from deployments.heap import keep_large_blocks_apart

def resident_mib():
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1024

if sys.argv[1] == "apart":
    keep_large_blocks_apart()
draw = random.Random(0)
open_, stays = [], []
for _ in range(2_000):
    open_.append(bytes([1]) * draw.randrange(300_000, 4_000_000))
    stays.append(bytes([2]) * 2_000)
    if len(open_) > 16:
        del open_[draw.randrange(16)]
    if len(stays) > 300:
        del stays[draw.randrange(300)]
open_.clear()
print(resident_mib())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another malloc than glibc's")
def test_recordings_that_come_and_go_leave_no_gaps_in_the_heap():
    kept_mib = {}
    for how in ("apart", "among"):
        done = subprocess.run(
            [sys.executable, "-c", RECORDINGS, how], check=True, capture_output=True, text=True
        )
        kept_mib[how] = float(done.stdout)
    assert kept_mib["apart"] < kept_mib["among"] / 2
