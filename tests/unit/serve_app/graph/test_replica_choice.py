"""Conversations keep to the replica that has their prefix, as long as none gets too busy."""

import math
import random
from collections import Counter, OrderedDict

import pytest

from serve_app.graph.replica_choice import ALWAYS_ROOM, BOUND, by_conversation

REPLICAS = tuple(f"r{number}xyz" for number in range(4))
TURNS = 10
TOKENS_A_TURN = 200
SYSTEM_TOKENS = 100
MEMORY_TOKENS = 240_000
CONVERSATIONS = 400


def idle(names: tuple[str, ...] = REPLICAS) -> dict[str, int | None]:
    return dict.fromkeys(names, 0)


def homes(names: tuple[str, ...], conversations: int = 4000) -> list[str]:
    return [by_conversation(f"{number}", idle(names))[0] for number in range(conversations)]


def test_a_death_moves_only_the_conversations_of_the_dead():
    before, after = homes(REPLICAS), homes(REPLICAS[1:])
    moved = [old for old, new in zip(before, after, strict=True) if old != new]
    assert set(moved) == {REPLICAS[0]}
    assert len(moved) / len(before) <= 1 / len(REPLICAS) + 0.05
    heirs = Counter(new for old, new in zip(before, after, strict=True) if old != new)
    assert max(heirs.values()) <= 1.25 * len(moved) / len(heirs)


def test_a_new_replica_takes_conversations_from_all_and_moves_no_others():
    before, after = homes(REPLICAS[1:]), homes(REPLICAS)
    assert {new for old, new in zip(before, after, strict=True) if old != new} == {REPLICAS[0]}


def test_conversations_are_spread_evenly():
    counts = Counter(homes(REPLICAS))
    assert max(counts.values()) <= 1.1 * 4000 / len(REPLICAS)


def test_a_replica_at_its_bound_is_passed_over_for_the_next_best():
    first, second, *_ = by_conversation("x", idle())
    loads = idle() | dict.fromkeys(REPLICAS, 20) | {first: 28}
    assert by_conversation("x", loads)[0] == second
    assert by_conversation("x", loads | {first: 27})[0] == first


def test_a_handful_of_requests_moves_nobody():
    first = by_conversation("x", idle())[0]
    assert by_conversation("x", idle() | {first: ALWAYS_ROOM - 1})[0] == first


def test_a_load_that_is_not_known_keeps_nobody_away():
    first = by_conversation("x", idle())[0]
    assert by_conversation("x", {name: None for name in REPLICAS})[0] == first
    assert by_conversation("x", dict.fromkeys(REPLICAS, 9) | {first: None})[0] == first


def test_replicas_at_their_bound_come_last_the_least_busy_first():
    first = by_conversation("x", idle())[0]
    others = [name for name in REPLICAS if name != first]
    loads = dict(zip(others, (9, 8, 7), strict=True)) | {first: 100}
    assert by_conversation("x", {**loads, others[0]: 90})[-2:] == [others[0], first]


class Stage:
    """Replicas that remember prefixes, as many tokens of them as fit into their memory."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.loads = idle(names)
        self.turns: Counter[str] = Counter()
        self.cached_tokens = self.prompt_tokens = 0
        self._caches: dict[str, OrderedDict[str, int]] = {name: OrderedDict() for name in names}
        self._free = dict.fromkeys(names, MEMORY_TOKENS // len(names))

    def take(self, conversation: str, turn: int) -> str:
        """Have a turn answered, whose prompt is all turns before it and a question."""
        name = by_conversation(conversation, self.loads)[0]
        prompt = SYSTEM_TOKENS + turn * TOKENS_A_TURN
        cache = self._caches[name]
        had = cache.pop(conversation, 0)
        self.cached_tokens += min(had, prompt)
        self.prompt_tokens += prompt
        cache[conversation] = prompt + TOKENS_A_TURN
        self._free[name] += had - cache[conversation]
        while self._free[name] < 0:
            self._free[name] += cache.popitem(last=False)[1]
        self.turns[name] += 1
        self.loads[name] = (self.loads[name] or 0) + 1
        return name

    @property
    def hit_rate(self) -> float:
        return self.cached_tokens / self.prompt_tokens

    def is_balanced(self, name: str) -> bool:
        """Whether a replica that has got a request is within the bound."""
        loads = [load or 0 for load in self.loads.values()]
        most = math.ceil(BOUND * sum(loads) / len(loads))
        return (self.loads[name] or 0) <= max(ALWAYS_ROOM, most)


def converse(names: tuple[str, ...], at_once: int) -> Stage:
    """So many people talk at once; at any moment more than half of them are being answered."""
    draw = random.Random(at_once)
    stage = Stage(names)
    waiting = [f"{number}" for number in range(at_once)]
    turns: Counter[str] = Counter()
    answered: list[tuple[str, str]] = []
    while waiting or answered:
        if len(waiting) > 0.4 * (len(waiting) + len(answered)):
            who = waiting.pop(draw.randrange(len(waiting)))
            answered.append((who, stage.take(who, turns[who])))
            assert stage.is_balanced(answered[-1][1])
            continue
        who, name = answered.pop(draw.randrange(len(answered)))
        stage.loads[name] = (stage.loads[name] or 0) - 1
        turns[who] += 1
        if turns[who] < TURNS:
            waiting.append(who)
        elif len(turns) < CONVERSATIONS:
            waiting.append(f"{len(turns)}")
            turns[waiting[-1]] = 0
    return stage


@pytest.mark.parametrize("at_once", [40, 48, 64, 256])
def test_conversations_of_ten_turns_find_their_prefix_and_no_replica_is_too_busy(at_once: int):
    one, four = converse(("only",), at_once), converse(REPLICAS, at_once)
    assert sum(four.turns.values()) == CONVERSATIONS * TURNS
    assert one.hit_rate > 0.7
    assert four.hit_rate >= 0.95 * one.hit_rate
    assert max(four.turns.values()) <= BOUND * four.turns.total() / len(REPLICAS)
