"""When a caller asks a stage's replicas how busy they are before it sends a request."""

import subprocess
import sys

import pytest
from ray.serve._private.build_app import build_app

from serve_app.app import app
from serve_app.config import AppConfig
from serve_app.graph.ray_request_router import ReplicaChoice
from tests.unit.serve_app.graph.replicas import MOST, Caller, Replica


async def test_after_a_silence_an_only_replica_is_not_asked():
    only = Replica("only")
    assert await Caller(only).choose_after_silence() is only
    assert only.asked == 0


async def test_after_a_silence_two_replicas_are_asked_and_the_idle_one_is_chosen():
    busy, idle = Replica("busy"), Replica("idle")
    busy.busy = MOST - 1
    assert await Caller(busy, idle).choose_after_silence() is idle
    assert (busy.asked, idle.asked) == (1, 1)


async def test_an_only_replica_that_refused_is_asked_until_it_has_room():
    only = Replica("only")
    caller = Caller(only)
    await caller.choose_after_silence()
    caller.router.on_new_queue_len_info(only.replica_id, MOST)  # its refusal says so
    assert await caller.choose() is only
    assert only.asked == 1


async def test_an_only_replica_out_of_reach_is_asked_until_it_has_answered():
    only = Replica("only")
    caller = Caller(only)
    await caller.choose()
    caller.router.on_replica_actor_unavailable(only.replica_id)
    only.asked = 0
    await caller.choose()
    assert only.asked == 1
    assert await caller.choose_after_silence() is only
    assert only.asked == 0


@pytest.mark.parametrize("stage", ["Thinker", "Token2Wav"])
def test_callers_of_a_stage_choose_so(stage: str):
    built = build_app(app(AppConfig.model_validate({"model": "none"})), name="x")
    (deployment,) = (each for each in built.deployments if each.name == stage)
    router = deployment._deployment_config.request_router_config.get_request_router_class()
    assert router.__qualname__ == ReplicaChoice.__qualname__  # Serve sends a copy of the class


WITHOUT_OURS = """
import sys
sys.modules["serve_app"] = sys.modules["deployments"] = None
import pickle
print(pickle.load(sys.stdin.buffer).__qualname__)
"""


def test_callers_of_an_older_version_can_read_the_router():
    """Ray Serve sends it to all callers of a stage that is updated; they lack newer modules."""
    built = build_app(app(AppConfig.model_validate({"model": "none"})), name="x")
    (stage,) = (each for each in built.deployments if each.name == "Thinker")
    config = stage._deployment_config.request_router_config
    read = subprocess.run(
        [sys.executable, "-c", WITHOUT_OURS],
        input=config._serialized_request_router_cls,
        capture_output=True,
        check=True,
    )
    assert read.stdout.decode().strip() == ReplicaChoice.__qualname__
