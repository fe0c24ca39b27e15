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


async def test_an_id_that_was_never_given_out_is_unknown() -> None:
    assert await MemorySpokenTurns(capacity=2, ttl_s=10).get("audio_x") is None
