"""What `make chaos` does by chance is the same again by its seed, and what it counts apart."""

import pytest

from tests.benchmarks.chaos.faults import KINDS, Fault, faults_of
from tests.benchmarks.run_chaos import Answer, Chaos


def chaos_in_which(*kinds: str) -> Chaos:
    chaos = Chaos(seed=0, nodes=4, replicas=3, streams=1, fault_every_s=10, seconds=60)
    for kind in kinds:
        chaos.hit(Fault(10.0, kind, "Thinker", 0.0, 1.0))
    return chaos


def test_a_seed_gives_the_same_faults_again():
    faults = faults_of(3, 10.0, 1000.0, KINDS)
    assert faults == faults_of(3, 10.0, 1000.0, KINDS)
    assert {fault.kind for fault in faults} == set(KINDS)
    assert [fault.at_s for fault in faults[:2]] == [10.0, 20.0]


@pytest.mark.parametrize(("kind", "apart"), [("ingress", True), ("node", True), ("kill", False)])
def test_only_what_breaks_off_with_an_ingress_is_counted_apart(kind: str, apart: bool):
    chaos = chaos_in_which(kind)
    assert chaos.lost_with_ingress(began_s=8.0, ended_s=10.5) is apart
    assert not chaos.lost_with_ingress(began_s=1.0, ended_s=9.0)
    assert not chaos.lost_with_ingress(began_s=8.0, ended_s=13.0)


def test_an_error_that_no_ingress_explains_is_a_failure():
    chaos = chaos_in_which("kill")
    chaos.went_on = 1
    for outcome in ("exact", "error"):
        chaos.note(Answer(0.0, 1.0, 0.1, 0.1, "a", outcome, 0))
    assert chaos.failures == ["1 of 2 answers were exact"]
