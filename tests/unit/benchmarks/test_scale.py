"""What `run_scale` counts: processes as Linux does, decisions over real objects."""

import mmap
import os

import pytest

from tests.benchmarks.scale import router, token2wav
from tests.benchmarks.scale.processes import cpu_s, resident_bytes


def test_a_processes_time_and_memory_grow_with_what_it_does() -> None:
    before_s, before_bytes = cpu_s(os.getpid()), resident_bytes(os.getpid())
    held = mmap.mmap(-1, 64 << 20)  # new to the process, whatever its heap has free
    held.write(os.urandom(1 << 20) * 64)
    while cpu_s(os.getpid()) < before_s + 0.05:
        sum(range(10_000))
    assert resident_bytes(os.getpid()) - before_bytes > len(held) / 2


def test_streams_have_the_replicas_that_they_need() -> None:
    rows = router.measured([1, router.STREAMS_A_REPLICA + 1])
    assert [one["replicas"] for one in rows] == [1, 2]
    assert all(one["speech_ms"] > 0 and one["turn_ms"] > 0 for one in rows)


def test_a_decision_over_more_streams_of_one_replica_takes_longer() -> None:
    few, many = token2wav.one_replica([10, 1000])
    for what in ("admission_ms", "headroom_ms", "step_ms"):
        assert many[what] > few[what]
    assert many["kib_a_stream"] == pytest.approx(few["kib_a_stream"], rel=1)


def test_a_cluster_hears_all_of_its_listeners() -> None:
    (row,) = token2wav.cluster([20])
    assert (row["listeners"], row["replicas"], row["with_a_gap"]) == (20, 1, 0)
