"""The collector of a warm process; each in a process of its own, whose settings may change."""

import subprocess
import sys

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
