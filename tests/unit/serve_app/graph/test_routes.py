"""Where a request goes by what it says: its conversation, replicas that were lost or refused."""

import asyncio

import pytest

from deployments.errors import EveryReplicaFull
from deployments.liveness.routes import ROUTES
from deployments.messages import SpeechRequest, ThinkerRequest
from tests.unit.serve_app.graph.replicas import LONG_S, MOST, Caller, Replica

WITHIN_S = 5.0


def thinker(**fields: object) -> ThinkerRequest:
    return ThinkerRequest("r", (), **fields)  # type: ignore[arg-type]


def named(*names: str) -> list[Replica]:
    return [Replica(name) for name in names]


async def test_two_calls_at_once_for_one_request_both_get_a_replica():
    caller = Caller(*named("a", "b"))
    async with asyncio.timeout(WITHIN_S):
        chosen = await asyncio.gather(*(caller.choose(thinker()) for _ in range(20)))
    assert len(chosen) == 20
    assert caller.router._pending_requests_by_id == {}


async def test_of_two_calls_for_one_request_each_gets_the_replica_that_was_chosen_for_it():
    caller = Caller(*named("a", "b"))
    async with asyncio.timeout(WITHIN_S):
        for _ in range(20):
            not_a, not_b = await asyncio.gather(
                caller.choose(thinker(avoid=("a",))), caller.choose(thinker(avoid=("b",)))
            )
            assert (not_a.replica_id.unique_id, not_b.replica_id.unique_id) == ("b", "a")


async def test_a_call_that_is_cancelled_leaves_the_other_of_its_request_its_replica():
    (only,) = named("a")
    only.busy = MOST
    caller = Caller(only)
    caller.router.on_new_queue_len_info(only.replica_id, MOST)
    only.asked = 0
    stays, leaves = (asyncio.ensure_future(caller.choose(thinker())) for _ in range(2))
    async with asyncio.timeout(WITHIN_S):
        while only.asked < 2:
            await asyncio.sleep(0)
        leaves.cancel()
        await asyncio.wait([leaves])
        only.busy = 0
        assert await stays is only


@pytest.mark.parametrize("request_", [thinker, lambda **sent: SpeechRequest(thinker(), **sent)])
async def test_a_lost_replica_is_avoided_though_it_is_idle(request_):
    idle, busy = named("idle", "busy")
    caller = Caller(idle, busy)
    for _ in range(MOST - 1):
        await caller.send(request_(avoid=("idle",)))
    assert (idle.busy, busy.busy) == (0, MOST - 1)


async def test_a_lost_replica_is_taken_where_there_is_no_other_once_it_has_answered():
    (only,) = named("only")
    caller = Caller(only)
    await caller.choose()
    only.asked = 0
    async with asyncio.timeout(WITHIN_S):
        assert await caller.choose(thinker(avoid=("only", "gone"))) is only
    assert only.asked == 1


async def test_a_lost_replica_that_does_not_answer_is_not_taken_and_its_successor_is():
    (lost,) = named("lost")
    lost.hangs = True
    caller = Caller(lost)
    caller.router.on_new_queue_len_info(lost.replica_id, 0)
    asked = asyncio.ensure_future(caller.choose(thinker(avoid=("lost",))))
    while not lost.asked:
        await asyncio.sleep(0.01)
    (successor,) = named("successor")
    caller.router.update_replicas([lost, successor])
    async with asyncio.timeout(WITHIN_S):
        assert await asked is successor


@pytest.mark.parametrize("others", [0, 1])
async def test_a_replica_that_one_stream_lost_gets_no_other_before_it_has_answered(others):
    lost, *other = named("lost", *"b"[:others])
    caller = Caller(lost, *other)
    await caller.choose()
    for one in (lost, *other):
        caller.router.on_new_queue_len_info(one.replica_id, 0 if one is lost else MOST - 1)
    lost.hangs = True
    goes_on = asyncio.ensure_future(caller.choose(thinker(avoid=("lost",))))
    await asyncio.wait([goes_on], timeout=0.05)
    comes = asyncio.ensure_future(caller.choose(thinker()))
    await asyncio.wait([comes], timeout=0.3)
    assert not comes.done() if not other else comes.result() is other[0]
    lost.hangs = False
    async with asyncio.timeout(WITHIN_S):
        await asyncio.gather(goes_on, comes)


async def test_beside_a_lost_replica_the_only_other_one_is_not_asked():
    lost, other = named("lost", "other")
    caller = Caller(lost, other)
    await caller.choose_after_silence()
    caller.now_s += 1000.0
    other.asked = 0
    assert await caller.choose(thinker(avoid=("lost",))) is other
    assert other.asked == 0


async def test_a_replica_that_refused_is_not_asked_again():
    caller = Caller(*named("a", "b", "c"))
    async with asyncio.timeout(WITHIN_S):
        chosen = [await caller.choose(thinker(refused_by=("a", "c"))) for _ in range(20)]
    assert {one.replica_id.unique_id for one in chosen} == {"b"}


async def test_where_all_replicas_refused_the_caller_hears_so_at_once_and_the_others_go_on():
    caller = Caller(*named("a", "b"))
    async with asyncio.timeout(WITHIN_S):
        with pytest.raises(EveryReplicaFull):
            await caller.choose(thinker(refused_by=("b", "a", "gone")))
        await caller.choose(thinker())
    assert caller.router._pending_requests_by_id == {}


async def test_the_turns_of_a_conversation_go_to_one_replica_and_conversations_to_all():
    caller = Caller(*named("a", "b", "c", "d"))
    homes = set()
    for number in range(40):
        turns = [await caller.choose(thinker(conversation=f"{number}")) for _ in range(5)]
        assert len(set(turns)) == 1
        homes.add(turns[0])
    assert homes == set(caller.replicas)


async def test_callers_agree_on_the_replica_of_a_conversation():
    one, other = (Caller(*named(*names)) for names in ("abcd", "dcba"))
    for number in range(20):
        request = thinker(conversation=f"{number}")
        chosen = [await caller.choose(request) for caller in (one, other)]
        assert chosen[0].replica_id == chosen[1].replica_id


async def test_a_conversation_whose_replica_is_full_goes_to_another_without_waiting():
    caller = Caller(*named("a", "b"))
    home = await caller.choose(thinker(conversation="x"))
    home.busy = MOST
    caller.router.on_new_queue_len_info(home.replica_id, MOST)
    async with asyncio.timeout(WITHIN_S):
        assert await caller.choose(thinker(conversation="x")) is not home


async def test_a_conversation_that_lost_its_replica_goes_to_the_next_one_and_stays_there():
    caller = Caller(*named("a", "b", "c", "d"))
    home = await caller.choose(thinker(conversation="x"))
    lost = home.replica_id.unique_id
    next_one = await caller.choose(thinker(conversation="x", avoid=(lost,)))
    caller.router.update_replicas([one for one in caller.replicas if one is not home])
    assert home is not next_one is await caller.choose(thinker(conversation="x"))


async def test_requests_of_no_conversation_go_by_load():
    replicas = named("a", "b", "c", "d")
    caller = Caller(*replicas)
    for _ in range(12):
        await caller.send(SpeechRequest(thinker()))
    assert [one.busy for one in replicas] == [3] * 4


async def test_requests_that_come_at_once_are_spread_though_one_replica_was_idle():
    replicas = named("idle", "b", "c", "d")
    caller = Caller(*replicas)
    await caller.choose()
    for one in replicas:
        caller.router.on_new_queue_len_info(one.replica_id, 0 if one is replicas[0] else 1)
    chosen = await asyncio.gather(*(caller.choose(SpeechRequest(thinker())) for _ in range(5)))
    assert sorted(one.replica_id.unique_id for one in chosen) == ["b", "c", "d", "idle", "idle"]


async def test_a_caller_knows_where_its_request_went_before_anything_came():
    """One that waits for room is at no replica, also when one has rejected it before."""
    (only,) = named("only")
    only.busy = MOST
    caller, request = Caller(only), thinker()
    caller.router.on_new_queue_len_info(only.replica_id, MOST)
    only.asked = 0
    route = ROUTES.begin(request)
    ROUTES.note(request, "rejects")
    waits = asyncio.ensure_future(caller.choose(request))
    async with asyncio.timeout(WITHIN_S):
        while not only.asked:
            await asyncio.sleep(0)
        assert route.replica == ""
        only.busy = 0
        await waits
    assert route.replica == "only"
    ROUTES.end(request)


async def test_turns_whose_replica_is_out_of_reach_do_not_wait_for_its_probe():
    caller = Caller(*named("a", "b", "c", "d"))
    home = await caller.choose(thinker(conversation="x"))
    caller.router.queue_len_response_deadline_s = LONG_S
    home.hangs = True
    lost = home.replica_id.unique_id
    async with asyncio.timeout(WITHIN_S):
        await caller.choose(thinker(conversation="x", avoid=(lost,)))
        for _ in range(MOST - 1):
            assert await caller.choose(thinker(conversation="x")) is not home
        home.hangs = False
        while await caller.choose(thinker(conversation="x")) is not home:
            await asyncio.sleep(0.01)
