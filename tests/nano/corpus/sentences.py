"""Everyday English sentences from a small grammar: what nano learns to hear and to say.

A rule is a name and its alternatives, parted by `|`. `<name>` stands for another rule; with a form,
as in `<act:past>`, the first word of what it gives is a verb and is put into that form. The hash of
a sentence decides on which side it is: a tenth of all sentences is held out, whatever the seed.
"""

import random
from collections.abc import Iterator
from hashlib import blake2b
from typing import Final

from serve_app.commands.word_error_rate import normalise

SHORTEST_WORDS: Final = 3
LONGEST_WORDS: Final = 12
SALAD_SHARE: Final = 0.3  # of the training sentences: random words, so that spelling is by ear
_HELD_OUT_OF: Final = 10  # one sentence in so many is never trained on

# Base form, third person, past, present participle. No two words of the vocabulary sound alike.
_VERBS = """
    ask asks asked asking; bring brings brought bringing; build builds built building;
    call calls called calling; carry carries carried carrying; catch catches caught catching;
    clean cleans cleaned cleaning; close closes closed closing; cook cooks cooked cooking;
    dance dances danced dancing; drink drinks drank drinking; drive drives drove driving;
    eat eats ate eating; feel feels felt feeling; find finds found finding;
    finish finishes finished finishing; fly flies flew flying; follow follows followed following;
    forget forgets forgot forgetting; give gives gave giving; go goes went going;
    help helps helped helping; jump jumps jumped jumping; keep keeps kept keeping;
    laugh laughs laughed laughing; learn learns learned learning; leave leaves left leaving;
    like likes liked liking; listen listens listened listening; live lives lived living;
    look looks looked looking; lose loses lost losing; love loves loved loving;
    make makes made making; move moves moved moving; open opens opened opening;
    paint paints painted painting; play plays played playing; put puts put putting;
    remember remembers remembered remembering; run runs ran running; send sends sent sending;
    show shows showed showing; sing sings sang singing; sit sits sat sitting;
    sleep sleeps slept sleeping; speak speaks spoke speaking; stand stands stood standing;
    start starts started starting; stay stays stayed staying; swim swims swam swimming;
    take takes took taking; talk talks talked talking; tell tells told telling;
    think thinks thought thinking; visit visits visited visiting; wait waits waited waiting;
    walk walks walked walking; want wants wanted wanting; wash washes washed washing;
    watch watches watched watching; work works worked working
"""
_FORM_NAMES: Final = ("base", "s", "past", "ing")
_FORMS: Final = {
    forms.split()[0]: dict(zip(_FORM_NAMES, forms.split(), strict=True))
    for forms in _VERBS.split(";")
}

_RULES = {
    # --- people
    "relative": "mother | father | brother | sister | uncle | grandmother | grandfather"
    " | daughter | friend | neighbor | teacher",
    "worker": "doctor | farmer | baker | driver | student | singer"
    " | boy | girl | man | woman | child",
    "group": "children | parents | students | friends | neighbors | girls | boys | farmers"
    " | teachers",
    "name": "Anna | Peter | Emma | David | Lucy | Tom",
    "my": "my | your | his | her | the",
    "person": "my <relative> | <my> <relative> | the <worker> | the <human> <worker> | <name>",
    "he": "he | she | <person> | <person> | <person>",
    "they": "we | they | you | <my> <group> | the <human> <group> | <person> and <person>",
    "anyone": "I | <he> | <he> | <they>",
    "him": "me | him | her | us | them | you | <person> | <person>",
    "human": "young | old | tall | happy | sad | friendly | kind | tired | hungry"
    " | busy | quiet | poor | strong | angry | famous | funny",
    # --- animals
    "animal": "dog | cat | horse | cow | bird | rabbit | duck | monkey | lion | elephant | chicken",
    "animals": "dogs | cats | horses | cows | birds | rabbits | ducks | monkeys | sheep | chickens",
    "look": "little | big | small | black | white | brown | gray | old | young | hungry | beautiful"
    " | strange | gentle | wet",
    "beast": "the <animal> | the <look> <animal> | <my> <animal> | a <look> <animal>",
    "beasts": "the <animals> | the <look> <animals> | <number> <animals>",
    "roam": "run <way> | jump over the <thing> | sleep <somewhere>"
    " | follow <him> <way> | drink some water | eat the <food> | sit <somewhere>"
    " | play with the <thing> | look at <him> | watch the <animals> | stand <somewhere>",
    # --- things
    "thing": "book | letter | table | chair | window | door | box | bag | cup | plate | bottle"
    " | knife | picture | camera | phone | computer | key"
    " | ticket | umbrella | hat | coat | shirt | ring | bicycle | truck | boat | ball | toy"
    " | guitar | flower | tree | bed | towel | basket"
    " | map",
    "things": "books | letters | chairs | windows | boxes | pictures | shoes | flowers"
    " | trees | keys | tickets | cups | plates | toys",
    "trait": "big | small | old | new | heavy | long | short | clean | dirty | beautiful"
    " | cheap | expensive | broken | empty | soft | strange | <color> | <color>",
    "color": "red | blue | green | yellow | black | white | brown | purple | pink",
    "item": "the <thing> | the <trait> <thing> | a <trait> <thing> | <my> <thing> | a <thing>"
    " | this <thing> | that <thing> | another <thing>",
    "items": "the <things> | <number> <things> | <my> <things> | these <things> | some <things>"
    " | the <trait> <things> | all the <things> | <number> <trait> <things>",
    "object": "<item> | <item> | <items>",
    "number": "three | five | six | seven | nine | ten | twenty | many | a few | several",
    # --- food
    "food": "bread | butter | cheese | rice | soup | salad | fish | cake | fruit | sugar | honey"
    " | chocolate | pizza | chicken",
    "pieces": "apples | oranges | bananas | potatoes | eggs | cookies | sandwiches",
    "drink": "water | milk | coffee | tea | orange juice",
    "meal": "breakfast | lunch | dinner",
    "taste": "fresh | sweet | warm | cold | hot | delicious | good | bad",
    "dish": "some <food> | <taste> <food> | <food> and <food> | <number> <pieces> | the <pieces>"
    " | some <taste> <pieces> | the <food> | <food> with <pieces>",
    "sip": "a cup of <drink> | some <drink> | a glass of <drink> | <taste> <drink> | the <drink>",
    # --- places
    "place": "school | park | house | garden | kitchen | market | station | library | hospital"
    " | church | museum | restaurant | hotel | village | city | town | beach | river | lake"
    " | mountain | forest | farm | store | bridge",
    "setting": "small | big | old | new | quiet | beautiful | famous | dark | busy",
    "in": "in | near | behind | at",
    "somewhere": "<in> the <place> | <in> the <place> | <in> the <setting> <place>"
    " | under the <thing> | on the <thing> | next to the <place> | between the <things>"
    " | in front of the <place> | in the <room> | in the <room> | on the <surface> | outside | here"
    " | upstairs",
    "room": "bathroom | bedroom | yard | living room | street | grass | rain | snow"
    " | car | bus | train",
    "surface": "floor | roof | wall | street | grass",
    "way": "to the <place> | to the <place> | from the <place> | through the <place> | home"
    " | into the <place> | around the <place> | across the street | across the bridge"
    " | along the river | up the hill | down the hill | to the <setting> <place>",
    # --- time and manner
    "day": "Monday | Tuesday | Wednesday | Thursday | Friday | Saturday | Sunday",
    "part": "morning | afternoon | evening | night",
    "season": "summer | winter | spring | autumn",
    "span": "hour | day | week | month | year | weekend",
    "stretch": "week | month | year | weekend",
    "spans": "minutes | hours | days | weeks | months | years",
    "ago": "yesterday | last <stretch> | last <part> | last <season> | <number> <spans> ago"
    " | on <day> | yesterday <part> | last <day> | before <meal> |",
    "later": "tomorrow | tonight | next <stretch> | next <season> | in <number> <spans> | soon"
    " | on <day> | tomorrow <part> | after <meal> | this <part> |",
    "now": "now | today | right away | again | this <part> | alone |",
    "habit": "every <span> | every <part> | in the <part> | in <season> | on <day> | at night"
    " | before <meal> | after <meal> | after work | for <number> <spans> |",
    "often": "always | often | never | usually | sometimes | rarely | still",
    "how": "quickly | slowly | quietly | carefully | together | very well | with <him> | all day |",
    # --- what people do
    "act": "<make> | <make> | <go> | <go> | <meet> | <mind>",
    "make": "eat <dish> | eat <dish> <somewhere> | drink <sip> | cook <dish>"
    " | bring <object> <way> | carry <object> <way> | find <object> <somewhere> | lose <my> <thing>"
    " | open the <thing> | close the <opening> | wash <object> | clean the <place> | paint <object>"
    " | move <object> <way>"
    " | keep <object> <somewhere> | put <object> <somewhere>"
    " | make <dish>"
    " | take <object> <way> | leave <object> <somewhere> | make <meal>"
    " | catch the <animal>"
    " | want <object> | forget <my> <thing>"
    " | build a <setting> <place>",
    "opening": "door | window | box | bag | bottle | book",
    "go": "go <way> <how> | walk <way> <how> | run <way> <how> | drive <way>"
    " | swim in the <water> <how> | dance <somewhere> | jump over the <thing> | fly <way>"
    " | sleep <somewhere> | sit <somewhere> | stand <somewhere> | stay <somewhere>"
    " | wait <somewhere> | work <somewhere> <how> | play <somewhere> <how>"
    " | leave the <place> | live <somewhere>"
    " | start the <event> | finish the <event>",
    "water": "river | lake | ocean | pool",
    "height": "mountain | hill | tree | wall",
    "meet": "help <him> | help <him> with <object> | call <him> | visit <him> | follow <him> <way>"
    " | ask <him> a question | tell <him> a story"
    " | show <him> <object> | give <him> <object> | send <him> <object>"
    " | talk about <topic> | speak with <him> | speak <language> <how> | listen to <topic>"
    " | laugh at <him> | wait for <him> | talk with <him> about <topic>"
    " | play <music> with <him> | play the <instrument> | sing a <mood> song | watch a <mood> movie"
    " | take <him> <way> | make <him> <feeling> | love <him>",
    "letter": "letter | question",
    "mind": "learn <subject> | think about <topic> | remember <topic>"
    " | look for <object> | look at <object> | like <topic> | love <topic> | forget <topic>"
    " | feel <feeling> | want to <bare> | like to <bare> | laugh <how>"
    " | start to <bare> | learn to <skill> | forget to <bare> | help <him> to <bare>",
    "bare": "eat <dish> | drink <sip> | go <way> | clean the <place> | visit <him> | sleep"
    " | find <object> | play <music> | learn <subject> | watch a <mood> movie | stay <somewhere>"
    " | open the <opening> | wash <object> | call <him> | make <meal> | be <feeling>",
    "skill": "swim | dance | sing | cook | drive | fly | paint | play the <instrument>"
    " | speak <language>",
    "subject": "English | music | history | <language>",
    "language": "English | French | Spanish",
    "instrument": "guitar | piano | violin | drums",
    "music": "football | tennis | cards | music | games",
    "event": "game | lesson | meeting | movie | party",
    "mood": "sad | happy | funny | short | beautiful | boring | long | famous | terrible | new",
    "topic": "the <event> | the weather | the news | music | <object> | <person> | the <beings>"
    " | the <mood> song | money | the <mood> story",
    "beings": "animals | <group> | <animals>",
    "feeling": "happy | sad | tired | hungry | thirsty | angry | sick | cold | ready | afraid"
    " | better",
    # --- statements
    "statement": "<he> <act:s> <habit> | <he> <act:s> <habit> | <he> <act:s> <habit> | <he> <act:s>"
    " | <he> <often> <act:s> | <they> <act:base> <habit> | I <act:base> <habit>"
    " | <he> <often> <act:s> | <they> <often> <act:base> | I <often> <act:base>"
    " | <anyone> <act:past> <ago> | <anyone> <act:past> <ago> | <anyone> <act:past> <ago>"
    " | <anyone> <modal> <act:base> <later> | <anyone> <modal> <act:base> <later>"
    " | <anyone> did not <act:base> <ago> | <he> does not <act:base> <habit>"
    " | <they> do not <act:base> | I do not <act:base> <habit> | <he> has never <been> <act:ing>"
    " | <he> <is> <act:ing> <now> | <they> <are> <act:ing> <now>"
    " | <he> <is> <act:ing> <now> | I <am> <act:ing> <now>"
    " | <he> <is> <very> <feeling> <now> | <they> <are> <very> <feeling> <now>"
    " | <he> <is> a <very> <human> <worker> | I <am> <very> <feeling> <now>"
    " | the <thing> <is> <somewhere> | the <trait> <thing> <is> <somewhere>"
    " | the <things> <are> <very> <trait> | <item> <is> <very> <trait>"
    " | the <food> <is> <very> <taste> | the <pieces> <are> <taste> | <my> <place> is <setting>"
    " | there <is> a <setting> <place> <in> the <place> | there <are> <number> <things> <somewhere>"
    " | there <is> a <trait> <thing> <somewhere> | there <are> <beasts> <somewhere>"
    " | <beast> <roam:past> <ago> | <beasts> <roam:past> <ago> | <beast> <is> <roam:ing>"
    " | <beast> <roam:s> <habit> | <beasts> <roam:base> <habit> | <beasts> <are> <roam:ing>"
    " | <weather> | <weather> | <anyone> <act:past> because <he> was <feeling>"
    " | <anyone> <act:past> but <anyone> <act:past> | <he> <act:past> and <act:past>"
    " | when it rains , <they> <act:base> | yes , <he> <act:past> | no , <they> <are> <feeling>"
    " | if it is <sky> , we will <act:base> | <he> <act:past> while <they> were <act:ing>"
    " | <he> has a <trait> <thing> | <they> have <items> | I have <number> <animals>"
    " | <he> had <number> <things> <ago> | <he> thinks that <they> <are> <feeling>"
    " | this <thing> is for <him> | the <thing> is more <value> than the <thing>"
    " | <my> <relative> <is> <older> than <him> | maybe <they> will <act:base> <later>"
    " | thank you for the <trait> <thing> | the <event> <is> <mood> | the <event> started <ago>",
    "been": "been | been | stopped",
    "is": "is | is | was",
    "are": "are | are | were",
    "am": "am | am | was",
    "very": "very | really | so | almost | quite |  |",
    "modal": "will | will | can | should | must | could | would | may | might",
    "value": "expensive | important | interesting | beautiful | difficult",
    "older": "older | younger | taller | stronger | faster",
    "sky": "sunny | rainy | warm | cold | hot | dark",
    "weather": "it <is> <very> <sky> <when> | the weather <is> <very> <sky> <when>"
    " | it will be <sky> <later> | it rained <somewhere> <ago> | the sun is very <bright> today"
    " | it snowed <somewhere> <ago> | the wind <is> <very> strong <when> | the sky <is> <color>"
    " | the moon <is> <very> <bright> <when> | there <is> <much> snow on the <height>",
    "when": "today | here | in <season> | this <part> | on the <height> | in the <place> |",
    "bright": "bright | warm | beautiful | big | white",
    "much": "much | some | more | no | fresh",
    # --- questions and commands
    "question": "do you <often> <act:base> | does <he> <act:base> <habit> | did <anyone> <act:base>"
    " | did <he> <act:base> <ago> | will <they> <act:base> <later> | can you <act:base> <later>"
    " | can I <act:base> <now> | could you <act:base> | should we <act:base> <later>"
    " | where <is> <my> <thing> | where <is> the <trait> <thing> | where <are> the <things>"
    " | where did <anyone> <act:base> | why <is> <he> so <feeling> | why did <he> <act:base>"
    " | when will <they> <act:base> | when did <he> <act:base> | how did <they> <act:base>"
    " | who <act:past> <ago> | who is <act:ing> | what did <he> <ask> <ago>"
    " | is <he> <feeling> <now> | are <they> <act:ing> <now>"
    " | are you <feeling> | what <is> <somewhere>"
    " | how much <is> the <trait> <thing> | how many <things> are <somewhere>"
    " | which <thing> is <trait> | is the <food> <taste> | how old is <person>"
    " | what time does the <event> start | would you like <sip> | would you like <dish>"
    " | how far is the <place> from the <place> | have you <often> been to the <place>",
    "ask": "eat | make | find | bring | sell | learn | cook | forget | drink | want",
    "command": "please <make:base> | please <meet:base> <now> | <make:base> | do not <make:base>"
    " | never <make:base> | do not <go:base> | please <go:base> | let us <go:base> <later>"
    " | let <him> <make:base> | always <meet:base> | please be <manner> <somewhere>"
    " | be <manner> with the <thing> | come <way> <later> | come and <act:base>",
    "manner": "quiet | careful | kind | gentle",
}


def _alternatives(rule: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(alternative.split()) for alternative in rule.split("|"))


_GRAMMAR: Final = {name: _alternatives(rule) for name, rule in _RULES.items()}
_KINDS: Final = (("statement", "."),) * 6 + (("question", "?"),) * 2 + (("command", "."),)


def is_held_out(text: str) -> bool:
    """Whether a sentence is of those that are never trained on; its words alone decide."""
    digest = blake2b(normalise(text).encode(), digest_size=8).digest()
    return int.from_bytes(digest) % _HELD_OUT_OF == 0


def training_sentences(count: int, seed: int, salad_share: float = SALAD_SHARE) -> list[str]:
    """`count` different sentences, `salad_share` of them of random words; none is held out."""
    rng = random.Random(seed)
    salads = round(count * salad_share)
    sentences = _different(grammatical(rng), count - salads, held_out=False)
    sentences += _different(_salads(rng), salads, held_out=False)
    rng.shuffle(sentences)
    return sentences


def held_out_sentences(count: int = 200, seed: int = 1) -> list[str]:
    """`count` different sentences of the grammar, none of which is ever trained on."""
    return _different(grammatical(random.Random(seed)), count, held_out=True)


def _different(source: Iterator[str], count: int, *, held_out: bool) -> list[str]:
    found: dict[str, str] = {}
    while len(found) < count:
        sentence = next(source)
        if is_held_out(sentence) == held_out:
            found.setdefault(normalise(sentence), sentence)
    return list(found.values())


def grammatical(rng: random.Random) -> Iterator[str]:
    """Endless sentences of the grammar, held out or not."""
    while True:
        kind, end = rng.choice(_KINDS)
        words = _with_articles(_expand(kind, "base", rng))
        if SHORTEST_WORDS <= sum(word != "," for word in words) <= LONGEST_WORDS:
            yield _written(words, end)


def _salads(rng: random.Random) -> Iterator[str]:
    words = sorted({_cased(word) for word in VOCABULARY})
    while True:
        length = rng.randint(SHORTEST_WORDS, 8)
        yield _written(rng.choices(words, k=length), ".")


def _expand(name: str, form: str, rng: random.Random) -> list[str]:
    """The words of one derivation of a rule; its first word, if a verb, in the form."""
    words: list[str] = []
    for token in rng.choice(_GRAMMAR[name]):
        if token.startswith("<"):
            inner, _, inner_form = token[1:-1].partition(":")
            words += _expand(inner, inner_form or (form if not words else "base"), rng)
        else:
            words.append(_FORMS[token][form] if not words and form != "base" else token)
    return words


def _with_articles(words: list[str]) -> list[str]:
    followers = [*words[1:], ""]
    return [
        "an" if word == "a" and (next_word[:1] in "aeiou" or next_word == "hour") else word
        for word, next_word in zip(words, followers, strict=True)
    ]


def _written(words: list[str], end: str) -> str:
    text = " ".join(words).replace(" ,", ",")
    return text[0].upper() + text[1:] + end


_CASED: Final = {
    word.lower(): word
    for rule in ("name", "day", "subject", "language")
    for (word, *_) in _GRAMMAR[rule]
    if word[0].isupper()
} | {"i": "I"}


def _cased(word: str) -> str:
    return _CASED.get(word, word)


def _all_words() -> Iterator[str]:
    for alternatives in _GRAMMAR.values():
        for alternative in alternatives:
            yield from (word for word in alternative if word.isalpha())
    for forms in _FORMS.values():
        yield from forms.values()
    yield "an"


VOCABULARY: Final = frozenset(word.lower() for word in _all_words())
