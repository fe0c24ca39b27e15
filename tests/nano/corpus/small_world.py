"""A small world in which nano answers: what is said to it, and what it says or does.

Greetings, days and months, sums to twenty, opposites, colours, yes and no, repeating; and a house
with lights, heating, music and timers. In the house it calls a tool where tools are offered and
says what it did where none are; it asks back when a room is missing; "and in the kitchen?" takes
the previous turn into account. What it does not understand it says so.

An exchange is held out when the hash of what is said last puts it there, as with all sentences.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from tests.nano.corpus import readings
from tests.nano.corpus.everyday import everyday_sentences, salad
from tests.nano.corpus.sentences import is_held_out

ROOMS: Final = (
    "kitchen", "bedroom", "bathroom", "living room", "garage", "hall", "office", "garden",
)  # fmt: skip
DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS: Final = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
OPPOSITES: Final = (
    ("hot", "cold"), ("big", "small"), ("old", "young"), ("fast", "slow"), ("light", "dark"),
    ("happy", "sad"), ("open", "closed"), ("rich", "poor"), ("wet", "dry"), ("loud", "quiet"),
    ("strong", "weak"), ("full", "empty"), ("long", "short"), ("early", "late"), ("hard", "soft"),
    ("clean", "dirty"), ("near", "far"), ("high", "low"), ("right", "wrong"), ("thick", "thin"),
)  # fmt: skip
COLOURS: Final = {
    "the sky": "blue", "snow": "white", "grass": "green", "a banana": "yellow", "coal": "black",
    "a lemon": "yellow", "blood": "red", "milk": "white", "a carrot": "orange", "a frog": "green",
    "chocolate": "brown", "a tomato": "red",
}  # fmt: skip
ABILITIES: Final = {
    ("a fish", "swim"): True, ("a bird", "fly"): True, ("a dog", "run"): True,
    ("a horse", "fly"): False, ("a stone", "swim"): False, ("a cat", "climb"): True,
    ("a table", "walk"): False, ("a baby", "drive"): False, ("a chicken", "read"): False,
}  # fmt: skip
NOT_UNDERSTOOD: Final = "Sorry, I did not understand that."
NOTHING_YET: Final = "There is nothing to say again yet."

# What the tools are called and what they take, as JSON schemas of OpenAI's `tools`.
_ROOM: Final = {"type": "string", "enum": list(ROOMS)}
TOOLS: Final = tuple(
    {
        "type": "function",
        "function": {
            "name": name,
            "description": description,
            "parameters": {"type": "object", "properties": values, "required": list(values)},
        },
    }
    for name, description, values in (
        ("set_light", "Switch a room's lights.", {"room": _ROOM, "on": {"type": "boolean"}}),
        ("set_heating", "Heat a room.", {"room": _ROOM, "degrees": {"type": "integer"}}),
        ("set_music", "Play or stop music.", {"room": _ROOM, "on": {"type": "boolean"}}),
        ("set_timer", "Start a timer.", {"minutes": {"type": "integer"}}),
    )
)


@dataclass(frozen=True, slots=True)
class Call:
    """A tool and its arguments."""

    name: str
    arguments: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Exchange:
    """The last turn of a conversation and the answer to it."""

    said: str
    answer: str  # in words: what is said where no tool is called
    call: Call | None = None  # what is called instead, where tools are offered
    history: tuple[tuple[str, str], ...] = field(default=())  # what was said and answered before


def exchanges(count: int, seed: int, *, held_out: bool = False) -> list[Exchange]:
    """`count` exchanges, all of them held out or none; the same for the same seed."""
    rng = random.Random(seed)
    kinds, weights = zip(*_KINDS, strict=True)
    found: list[Exchange] = []
    while len(found) < count:
        exchange = rng.choices(kinds, weights)[0](rng)
        if is_held_out(" ".join([*sum(exchange.history, ()), exchange.said])) == held_out:
            found.append(exchange)
    return found


def _one(rng: random.Random, *ways: str) -> str:
    said = rng.choice(ways)
    return said[0].upper() + said[1:]


def _greeting(rng: random.Random) -> Exchange:
    part = rng.choice(("morning", "afternoon", "evening"))
    hello = rng.choice(("hello", "hi", "hey", f"good {part}", "hello there", "hi there"))
    return rng.choice(
        (
            Exchange(_one(rng, f"{hello}.", f"{hello}, nano."), _hello(hello)),
            Exchange(
                _one(rng, "how are you?", f"{hello}, how are you?", "how are you doing today?"),
                "I am fine, thank you. How can I help you?",
            ),
            Exchange(_one(rng, "thank you.", "thanks a lot.", "thank you very much."),
                     "You are welcome."),
            Exchange(_one(rng, "goodbye.", "bye.", "see you later.", "good night."),
                     "Goodbye. See you soon."),
        )
    )  # fmt: skip


def _hello(hello: str) -> str:
    return f"{hello[0].upper()}{hello[1:]}. What can I do for you?"


def _name(rng: random.Random) -> Exchange:
    asked = ("what is your name?", "what's your name?", "who are you?", "tell me your name.",
             "do you have a name?", "how are you called?")  # fmt: skip
    return Exchange(_one(rng, *asked), "My name is Nano.")


def _calendar(rng: random.Random) -> Exchange:
    names, kind, count = rng.choice(((DAYS, "day", "week"), (MONTHS, "month", "year")))
    index = rng.randrange(len(names))
    name, after = names[index], names[(index + 1) % len(names)]
    before = names[index - 1]
    return rng.choice(
        (
            Exchange(
                _one(rng, f"what {kind} comes after {name}?", f"which {kind} is after {name}?",
                     f"what is the {kind} after {name}?", f"what comes after {name}?"),
                f"{after} comes after {name}.",
            ),
            Exchange(
                _one(rng, f"what {kind} comes before {name}?", f"which {kind} is before {name}?",
                     f"what is the {kind} before {name}?", f"what comes before {name}?"),
                f"{before} comes before {name}.",
            ),
            Exchange(
                _one(rng, f"how many {kind}s are in a {count}?",
                     f"how many {kind}s does a {count} have?"),
                f"There are {readings.number(len(names))} {kind}s in a {count}.",
            ),
        )
    )  # fmt: skip


def _sum(rng: random.Random) -> Exchange:
    if rng.random() < 0.6:
        first = rng.randint(0, 20)
        second = rng.randint(0, 20 - first)
        word, result = "plus", first + second
    else:
        first = rng.randint(0, 20)
        second = rng.randint(0, first)
        word, result = "minus", first - second
    task = f"{readings.number(first)} {word} {readings.number(second)}"
    ways = (f"what is {task}?", f"what's {task}?", f"how much is {task}?", f"{task}?",
            f"can you tell me what {task} is?", f"calculate {task}.")  # fmt: skip
    return Exchange(_one(rng, *ways), f"{task[0].upper()}{task[1:]} is {readings.number(result)}.")


def _opposite(rng: random.Random) -> Exchange:
    word, other = rng.sample(rng.choice(OPPOSITES), 2)
    ways = (f"what is the opposite of {word}?", f"what's the opposite of {word}?",
            f"tell me the opposite of {word}.",
            f"which word is the opposite of {word}?")  # fmt: skip
    return Exchange(_one(rng, *ways), f"The opposite of {word} is {other}.")


def _colour(rng: random.Random) -> Exchange:
    thing, colour = rng.choice(list(COLOURS.items()))
    subject = thing[0].upper() + thing[1:]
    if rng.random() < 0.5:
        ways = (f"what color is {thing}?", f"which color is {thing}?",
                f"tell me the color of {thing}.", f"what is the color of {thing}?")  # fmt: skip
        return Exchange(_one(rng, *ways), f"{subject} is {colour}.")
    asked = rng.choice((colour, rng.choice(sorted(set(COLOURS.values())))))
    answer = "Yes" if asked == colour else "No"
    return Exchange(_one(rng, f"is {thing} {asked}?"), f"{answer}, {thing} is {colour}.")


def _ability(rng: random.Random) -> Exchange:
    (thing, act), able = rng.choice(list(ABILITIES.items()))
    answer = f"Yes, {thing} can {act}." if able else f"No, {thing} cannot {act}."
    return Exchange(_one(rng, f"can {thing} {act}?", f"is {thing} able to {act}?"), answer)


def _repeat(rng: random.Random) -> Exchange:
    sentence = everyday_sentences(1, rng.randrange(2**31))[0]
    ways = (f"repeat after me, {sentence}", f"repeat after me. {sentence}", f"say {sentence}",
            f"please repeat, {sentence}", f"say after me, {sentence}")  # fmt: skip
    return Exchange(_one(rng, *ways), sentence)


def _again(rng: random.Random) -> Exchange:
    ways = ("say that again.", "say that again, please.", "can you repeat that?",
            "what did you say?", "pardon?", "once more, please.")  # fmt: skip
    said = _one(rng, *ways)
    if rng.random() < 0.15:
        return Exchange(said, NOTHING_YET)
    before = rng.choice((_sum, _calendar, _opposite, _colour, _name))(rng)
    return Exchange(said, before.answer, history=((before.said, before.answer),))


@dataclass(frozen=True, slots=True)
class _Wish:
    """Something that can be done in a room."""

    ways: tuple[str, ...]  # without the room
    done: str  # with {room}
    name: str
    arguments: Mapping[str, object]

    def in_(self, room: str) -> Call:
        return Call(self.name, {"room": room, **self.arguments})


def _wish(rng: random.Random) -> _Wish:
    on = rng.random() < 0.5
    word = "on" if on else "off"
    degrees = rng.randint(15, 25)
    warm = readings.number(degrees)
    return rng.choice(
        (
            _Wish(
                (f"turn {word} the lights", f"turn the lights {word}", f"switch {word} the light",
                 f"lights {word}", f"can you turn {word} the light",
                 f"please switch the lights {word}"),
                f"The lights in the {{room}} are {word}.", "set_light", {"on": on},
            ),
            _Wish(
                (f"set the heating to {warm} degrees", f"heat to {warm} degrees",
                 f"set the temperature to {warm} degrees", f"make it {warm} degrees"),
                f"The heating in the {{room}} is set to {warm} degrees.", "set_heating",
                {"degrees": degrees},
            ),
            _Wish(
                ("play some music", "play music", "start the music", "turn on the music") if on
                else ("stop the music", "turn off the music", "music off", "switch off the music"),
                f"The music in the {{room}} is {word}.", "set_music", {"on": on},
            ),
        )
    )  # fmt: skip


def _ended(said: str) -> str:
    return f"{said}?" if said.lower().startswith("can ") else f"{said}."


def _house(rng: random.Random) -> Exchange:
    wish, room = _wish(rng), rng.choice(ROOMS)
    way = rng.choice(wish.ways)
    said = _one(
        rng, f"{way} in the {room}", f"in the {room}, {way}", f"{way} in the {room}, please"
    )
    return Exchange(_ended(said), wish.done.format(room=room), wish.in_(room))


def _without_room(rng: random.Random) -> Exchange:
    wish = _wish(rng)
    return Exchange(_ended(_one(rng, rng.choice(wish.ways))), "In which room?")


def _room_told(rng: random.Random) -> Exchange:
    wish, room = _wish(rng), rng.choice(ROOMS)
    asked = _ended(_one(rng, rng.choice(wish.ways)))
    said = _one(
        rng, f"in the {room}.", f"the {room}.", f"the {room}, please.", f"in the {room}, please."
    )
    history = ((asked, "In which room?"),)
    return Exchange(said, wish.done.format(room=room), wish.in_(room), history)


def _and_there(rng: random.Random) -> Exchange:
    wish = _wish(rng)
    here, there = rng.sample(ROOMS, 2)
    asked = _ended(_one(rng, f"{rng.choice(wish.ways)} in the {here}"))
    said = _one(rng, f"and in the {there}?", f"and in the {there}, too.", f"also in the {there}.",
                f"and the {there}?", f"now in the {there}, please.")  # fmt: skip
    history = ((asked, wish.done.format(room=here)),)
    return Exchange(said, wish.done.format(room=there), wish.in_(there), history)


def _timer(rng: random.Random) -> Exchange:
    minutes = rng.randint(1, 60)
    spoken = f"{readings.number(minutes)} minute{'s' * (minutes != 1)}"
    ways = (f"set a timer for {spoken}.", f"start a timer for {spoken}.", f"timer, {spoken}.",
            f"wake me in {spoken}.", f"please set a timer for {spoken}.")  # fmt: skip
    return Exchange(
        _one(rng, *ways), f"The timer is set for {spoken}.", Call("set_timer", {"minutes": minutes})
    )


def _nonsense(rng: random.Random) -> Exchange:
    return Exchange(salad(rng, fewest=3), NOT_UNDERSTOOD)


_KINDS: Final[tuple[tuple[Callable[[random.Random], Exchange], float], ...]] = (
    (_greeting, 1.0),
    (_name, 0.4),
    (_calendar, 1.5),
    (_sum, 2.0),
    (_opposite, 1.2),
    (_colour, 1.2),
    (_ability, 0.6),
    (_repeat, 2.0),
    (_again, 0.8),
    (_house, 2.5),
    (_without_room, 0.8),
    (_room_told, 1.2),
    (_and_there, 1.2),
    (_timer, 1.0),
    (_nonsense, 2.0),
)
