"""The store of spoken turns."""

from serve_app.http.chat.spoken_turns import MemorySpokenTurns, SpokenTurn

TURN = SpokenTurn((1, 2, 3), "hi")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def keep(turns: MemorySpokenTurns) -> str:
    turn_id, expires_at = turns.reserve()
    await turns.put(turn_id, TURN, expires_at)
    return turn_id


async def test_a_turn_is_found_until_the_second_it_expires() -> None:
    clock = Clock()
    turns = MemorySpokenTurns(capacity=2, ttl_s=10, clock=clock)
    turn_id = await keep(turns)
    clock.now = 109.9
    assert await turns.get(turn_id) == TURN
    clock.now = 110
    assert await turns.get(turn_id) is None


async def test_the_oldest_turn_makes_room_for_a_new_one() -> None:
    turns = MemorySpokenTurns(capacity=2, ttl_s=10)
    first, second, third = [await keep(turns) for _ in range(3)]
    assert await turns.get(first) is None
    assert await turns.get(second) == await turns.get(third) == TURN


async def test_expired_turns_hold_no_memory() -> None:
    clock = Clock()
    turns = MemorySpokenTurns(capacity=100, ttl_s=10, clock=clock)
    for _ in range(50):
        await keep(turns)
    clock.now = 200
    await keep(turns)
    assert len(turns._turns) == 1


async def test_a_turn_whose_stream_ended_late_expires_when_it_was_said_to() -> None:
    clock = Clock()
    turns = MemorySpokenTurns(capacity=100, ttl_s=10, clock=clock)
    slow_id, slow_expires_at = turns.reserve()
    clock.now = 105
    quick_id = await keep(turns)
    await turns.put(slow_id, TURN, slow_expires_at)  # after the quick one, which expires later
    clock.now = 112
    assert await turns.get(slow_id) is None
    assert await turns.get(quick_id) == TURN
    await keep(turns)
    assert len(turns._turns) == len(turns._expiries) == 2


async def test_what_expires_first_makes_room_whenever_it_was_kept() -> None:
    clock = Clock()
    turns = MemorySpokenTurns(capacity=2, ttl_s=10, clock=clock)
    slow_id, slow_expires_at = turns.reserve()
    clock.now = 105
    first = await keep(turns)
    await turns.put(slow_id, TURN, slow_expires_at)
    second = await keep(turns)
    assert await turns.get(slow_id) is None
    assert await turns.get(first) == await turns.get(second) == TURN


async def test_a_turn_that_expired_before_its_stream_ended_is_not_kept() -> None:
    clock = Clock()
    turns = MemorySpokenTurns(capacity=2, ttl_s=10, clock=clock)
    turn_id, expires_at = turns.reserve()
    clock.now = 120
    await turns.put(turn_id, TURN, expires_at)
    assert await turns.get(turn_id) is None
    assert not turns._turns


async def test_an_id_that_was_never_given_out_is_unknown() -> None:
    assert await MemorySpokenTurns(capacity=2, ttl_s=10).get("audio_x") is None
