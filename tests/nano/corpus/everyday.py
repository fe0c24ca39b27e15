"""Everyday English without a closed grammar: what nano's ears are trained on.

Sentences come of five sources, a share each: the small grammar (sentences.py), frames that any word
of a kind fits into, the lines of a corpus of conversations, what is read by rule (numbers, prices,
times), and random words, so that spelling is learned by ear. Two of them at times make one
recording. As in the grammar, the hash of a sentence decides whether it is held out.
"""

import random
import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Final

from serve_app.commands.word_error_rate import normalise
from tests.nano.corpus import readings
from tests.nano.corpus.sentences import VOCABULARY, grammatical, is_held_out

LONGEST_WORDS: Final = 20
_SHARES: Final = {
    "grammar": 0.16,
    "frames": 0.26,
    "lines": 0.16,
    "readings": 0.12,
    "salad": 0.30,
    "rare": 0.08,
}
_JOINED_SHARE: Final = 0.12  # of the recordings: two sentences, one after the other

_FRAMES: Final = """
    I think the <n> is <a>. | I don't know where the <n> is. | Have you seen my <n>?
    | Can you tell me about the <n>? | What is a <n>? | What does <w> mean? | How do you spell <w>?
    | She said that the <n> was <a>. | He doesn't like <n> at all. | We need a <a> <n> for the <n>.
    | Please put the <n> on the <n>. | Could you bring me the <a> <n>? | There's a <n> in the <n>.
    | I'd like to buy a <n> and a <n>. | Is there a <n> near the <n>? | The <n> and the <n> are <a>.
    | My <n> is more <a> than yours. | Why is the <n> so <a>? | Nobody knows what the <n> is for.
    | They've been waiting for the <n> since <t>. | It's too <a> for me. | That's a very <a> <n>.
    | I can't find the <n> or the <n>. | Do you want the <a> one or the <a> one?
    | Let's talk about the <n> <t>. | We'll meet at the <n> <t>. | You should try the <n>.
    | If you see a <n>, tell me. | When the <n> is <a>, we can go home. | The word is <w>.
    | I was <g> when the <n> came. | She's <g> with her <n>. | Are you still <g>?
    | Stop <g>, please.
    | He started <g> <t>. | I'm tired of <g>. | <w>, <w>, and <w>. | Say <w>. | Not <a>, but <a>.
    | Yes, I like <n>. | No, the <n> isn't <a>. | Of course, it's a <n>. | Well, that was <a>.
    | What's your favorite <n>? | Who left the <n> in the <n>? | How many <n> do we have?
    | Turn off the <n>, please. | Repeat after me, <w> <w> <w>. | I've never had a <n> like this.
    | This <n> belongs to the <n>. | The <a> <n> fell on the <a> <n>. | Where did you put the <n>?
    | Every <n> needs a <n>. | It smells like <n>. | It looks <a> to me. | Thank you for the <n>.
    | Don't forget the <n>. | I'm sorry about the <n>. | What a <a> <n>! | It's <a>, isn't it?
    | The <n> was <a>, so we took the <n>. | Although it was <a>, she kept <g>.
    | I would rather have a <n> than a <n>. | <t>, the <n> was full of <n>. | Good <d>. | <w>.
    | Excuse me, is this the <n>? | You can have <n> with <n>, or <n> without it.
    | The <n> between the <n> and the <n> is <a>. | Remember to take your <n>. | Wait for the <n>.
"""
_ADJECTIVES: Final = """
    able afraid alone amazing ancient angry available awake awful bad basic beautiful best better
    big bitter black blind blue bored boring brave bright broad broken brown busy calm careful cheap
    clean clear clever cold comfortable common complete confused cool correct crazy cruel curious
    dangerous dark dead deep delicate delicious different difficult direct dirty dizzy dry dull
    early easy electric empty excellent excited expensive fair famous fast favorite final fine flat
    foreign free fresh friendly frozen full funny future general gentle glad golden good gray great
    green happy hard healthy heavy helpful high honest horrible hot huge hungry important impossible
    independent intelligent interesting jealous kind large last late lazy legal light likely local
    lonely long loose loud lovely low lucky modern musical narrow nasty natural naughty near neat
    necessary nervous new next nice noisy normal obvious odd official old open orange ordinary
    original pale perfect pink plain pleasant polite poor popular possible present pretty private
    proud public pure purple quick quiet rare raw ready real recent red responsible rich right ripe
    romantic rough round royal rude sad safe salty satisfied scared separate serious shallow sharp
    short shy silent silly silver similar simple single slow small smart smooth soft sore sorry sour
    special steady sticky strange strict strong stupid sudden suitable sunny sure surprised sweet
    tall terrible thick thin thirsty tight tiny tired tough true typical ugly unusual upset urgent
    useful useless usual valuable warm weak welcome wet white whole wide wild wise wonderful wooden
    worried worse wrong yellow young
"""
_NOT_NOUNS: Final = """
    able about above across after again against ago ahead all almost along already also although
    always am among an and another any anybody anymore anyone anything anyway anywhere apart are as
    at away be became because been before being below beside between beyond both bought but by came
    can could did do does done down downstairs during each either else enough even ever every
    everybody everyone everything everywhere except few finally for forever from get got had has
    have he her here him himself his how however i if in indeed instead into is it its itself just
    later least less let like many may maybe me meant might mine more most mostly much must my
    myself near nearly neither never no nobody none nor not nothing nowhere of off often oh on once
    only onto or other otherwise ought our ourselves out outside over perhaps quite rarely rather
    really said saw say says seldom seem seemed shall she should since so some somebody someone
    something sometimes somewhere soon still such than thank that the their them themselves then
    there therefore these they this those though through till to together too toward twice under
    unless until up upon us usually very was we went were what whatever when whenever where wherever
    whether which while who whom whose why will with without would yes yet you your yourself
"""
_TIMES: Final = (
    "today", "tomorrow", "yesterday", "tonight", "this morning", "this evening", "last night",
    "on Monday", "on Friday", "next week", "last year", "in the afternoon", "at noon", "in winter",
    "after school", "before lunch", "every day", "right now", "later", "at the weekend",
)  # fmt: skip
_GREETED: Final = ("morning", "afternoon", "evening", "night", "luck", "idea", "job", "question")
_MONTHS: Final = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
_PROPER: Final = {word.lower(): word for word in _MONTHS} | {"i": "I"}


def words() -> list[str]:
    """About two thousand everyday words, spelled as inside a sentence."""
    listed = (Path(__file__).parent / "words.txt").read_text(encoding="utf-8").split()
    proper = {"anna", "peter", "emma", "david", "lucy", "tom", "english", "french", "spanish"}
    proper |= {"monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"}
    small = {_PROPER.get(w, w.capitalize() if w in proper else w) for w in VOCABULARY}
    return sorted(set(listed) | small)


def conversation_lines(folder: Path) -> list[str]:
    """The lines of the English corpus of `chatterbot-corpus` (BSD) that can be read as they stand.

    One to twenty plain words, without digits, brackets, abbreviations or names in capitals.
    """
    plain = re.compile(r"(?:[A-Z]?[a-z]+(?:'[a-z]+)?|I|I'[a-z]+|A)(?:[,]? |[.?!]?$)")
    found = {}
    for path in sorted(folder.glob("*.yml")):
        text = re.sub(r"\n {4,}(?=\S)", " ", path.read_text(encoding="utf-8"))  # folded lines
        for line in text.splitlines():
            match = re.match(r"\s*(?:- )?- (.+)$", line)
            said = match[1].strip().strip("'\"").replace("''", "'").strip() if match else ""
            pieces = said.split()
            if 1 <= len(pieces) <= LONGEST_WORDS and not re.sub(plain, "", said):
                said = said[0].upper() + said[1:]
                found[normalise(said)] = said if said[-1] in ".?!" else said + "."
    return list(found.values())


def everyday_sentences(
    count: int,
    seed: int,
    lines: Sequence[str] = (),
    *,
    held_out: bool = False,
    rare: Sequence[str] = (),
) -> list[str]:
    """`count` sentences of 1 to 20 words, all of them held out or none.

    `lines` are those of conversations, `rare` words that stand among everyday ones at times.
    """
    rng = random.Random(seed)
    sources: dict[str, Callable[[random.Random], str]] = {
        "grammar": lambda rng: next(grammatical(rng)),
        "frames": _framed,
        "readings": _read_out,
        "salad": salad,
    }
    lines = [line for line in lines if is_held_out(line) == held_out]
    if lines:
        sources["lines"] = lambda rng: rng.choice(lines)
    if rare:
        sources["rare"] = lambda rng: _with_rare(rng, rare)
    names = list(sources)
    weights = [_SHARES[name] for name in names]

    def draw() -> str:
        while True:
            sentence = sources[rng.choices(names, weights)[0]](rng)
            if is_held_out(sentence) == held_out:
                return sentence

    sentences = []
    while len(sentences) < count:
        sentence = draw()
        if rng.random() < _JOINED_SHARE:
            sentence = f"{sentence} {draw()}"
        if 1 <= len(sentence.split()) <= LONGEST_WORDS:
            sentences.append(sentence)
    return sentences


@cache
def _words() -> tuple[str, ...]:
    return tuple(words())


@cache
def _nouns() -> tuple[str, ...]:
    """Whatever is no small word and no form: not all are nouns, and a frame need not make sense."""
    other = {*_ADJECTIVES.split(), *_NOT_NOUNS.split()}
    return tuple(w for w in _words() if w.islower() and "'" not in w and w not in other)


@cache
def _frames() -> tuple[str, ...]:
    return tuple(frame.strip() for frame in " ".join(_FRAMES.split()).split("|"))


@cache
def _fillers() -> dict[str, tuple[str, ...]]:
    going = tuple(w for w in _nouns() if w.endswith("ing") and len(w) > 5)
    return {
        "n": _nouns(),
        "a": tuple(_ADJECTIVES.split()),
        "w": _words(),
        "g": going,
        "t": _TIMES,
        "d": _GREETED,
    }


def _framed(rng: random.Random) -> str:
    fillers = _fillers()
    said = re.sub(r"<(\w)>", lambda m: rng.choice(fillers[m[1]]), rng.choice(_frames()))
    return said[0].upper() + _with_articles(said[1:])


def _with_articles(said: str) -> str:
    return re.sub(r"\b([Aa]) (?=[aeio])", r"\1n ", said)


def salad(rng: random.Random, fewest: int = 1) -> str:
    """`fewest` to nine random words."""
    said = " ".join(rng.choices(_words(), k=rng.randint(fewest, 9)))
    return said[0].upper() + said[1:] + "."


def _with_rare(rng: random.Random, rare: Sequence[str]) -> str:
    """One to three rare words among as many everyday ones: spelling is learned by ear."""
    count = rng.randint(1, 3)
    mixed = [*rng.choices(rare, k=count), *rng.choices(_words(), k=rng.randint(0, count))]
    rng.shuffle(mixed)
    said = " ".join(mixed)
    return said[0].upper() + said[1:] + "."


def _read_out(rng: random.Random) -> str:
    """A number, a price, a time or a date, in words, mostly within a sentence."""
    size = rng.choice((20, 100, 100, 1000, 10_000, 1_000_000))
    count, other = readings.number(rng.randrange(size)), readings.number(rng.randrange(21))
    cost = readings.price(
        rng.randrange(rng.choice((10, 100, 1000))), rng.choice((0, 0, 50, 99, 25))
    )
    time = readings.clock(rng.randint(1, 12), rng.choice((0, 15, 30, 45, rng.randrange(60))))
    day = f"{rng.choice(_MONTHS)} {readings.ordinal(rng.randint(1, 31))}"
    thing = rng.choice(_nouns())
    said = rng.choice(
        (
            f"{count}.",
            f"The number is {count}.",
            f"What is {other} plus {readings.number(rng.randrange(21))}?",
            f"{other} minus {readings.number(rng.randrange(21))} is {other}.",
            f"I have {count} {thing}s.",
            f"It costs {cost}.",
            f"{cost} for the {thing}, please.",
            f"The {thing} costs {cost}.",
            f"The train leaves at {time}.",
            f"Wake me up at {time} tomorrow.",
            f"It is {time}.",
            f"My birthday is on {day}.",
            f"We met on {day}, {readings.year(rng.randint(1950, 2030))}.",
            f"He was born in {readings.year(rng.randint(1800, 2030))}.",
            f"Set a timer for {readings.number(rng.randint(1, 90))} minutes.",
            f"Room {count} is on the {readings.ordinal(rng.randint(1, 20))} floor.",
            " ".join(readings.number(rng.randrange(10)) for _ in range(rng.randint(3, 8))) + ".",
        )
    )
    return said[0].upper() + said[1:]
