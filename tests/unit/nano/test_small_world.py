"""The small world: right answers, calls of tools that exist, both sides apart."""

import re

from tests.nano.corpus.small_world import (
    NOT_UNDERSTOOD,
    NOTHING_YET,
    ROOMS,
    TOOLS,
    Exchange,
    exchanges,
)

TAUGHT = exchanges(1500, seed=0)
_NUMBERS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
    " sixteen seventeen eighteen nineteen twenty"
)


def _said(pattern: str) -> list[tuple[re.Match[str], Exchange]]:
    found = [(re.fullmatch(pattern, exchange.said), exchange) for exchange in TAUGHT]
    return [(match, exchange) for match, exchange in found if match]


def test_sums_are_right() -> None:
    value = {word: number for number, word in enumerate(_NUMBERS.split())}
    sums = _said(r"What is (\w+) (plus|minus) (\w+)\?")
    assert len(sums) > 5
    for match, exchange in sums:
        sign = 1 if match[2] == "plus" else -1
        result = value[match[1]] + sign * value[match[3]]
        assert exchange.answer.endswith(f" is {_NUMBERS.split()[result]}.")


def test_every_call_is_of_a_tool_that_is_offered_and_has_its_arguments() -> None:
    offered = {tool["function"]["name"]: tool["function"]["parameters"] for tool in TOOLS}
    calls = [exchange.call for exchange in TAUGHT if exchange.call]
    assert {call.name for call in calls} == set(offered)
    for call in calls:
        assert set(call.arguments) == set(offered[call.name]["required"])
        assert call.arguments.get("room", ROOMS[0]) in ROOMS


def test_a_wish_without_a_room_is_asked_about_and_then_done() -> None:
    asked = [exchange for exchange in TAUGHT if exchange.answer == "In which room?"]
    done = [e for e in TAUGHT if e.history and e.history[-1][1] == "In which room?"]
    assert asked and done
    assert not any(exchange.call for exchange in asked)
    for exchange in done:
        assert exchange.call is not None
        assert str(exchange.call.arguments["room"]) in exchange.said.lower()


def test_the_other_room_gets_what_the_first_one_got() -> None:
    followed = _said(r"And in the ([\w ]+)\?")
    assert followed
    for match, exchange in followed:
        (_, before), here = exchange.history[-1], match[1]
        assert exchange.answer.replace(here, "?") == re.sub("|".join(ROOMS), "?", before)


def test_what_is_said_again_is_the_answer_before() -> None:
    for _, exchange in _said(r"Say that again\."):
        wanted = exchange.history[-1][1] if exchange.history else NOTHING_YET
        assert exchange.answer == wanted


def test_some_of_what_is_said_is_not_understood() -> None:
    share = sum(exchange.answer == NOT_UNDERSTOOD for exchange in TAUGHT) / len(TAUGHT)
    assert 0.05 < share < 0.2


def test_what_is_held_out_is_never_taught() -> None:
    tested = exchanges(200, seed=0, held_out=True)
    assert not {(e.history, e.said) for e in tested} & {(e.history, e.said) for e in TAUGHT}
    assert exchanges(50, seed=4) == exchanges(50, seed=4)
