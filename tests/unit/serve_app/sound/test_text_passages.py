"""Long texts in passages: whole sentences, of a length to speak in one go, nothing lost."""

import time

import pytest

from deployments.thinker.speech_length import quickest_s
from serve_app.sound.text_passages import CLAUSE_S, COMMA_S, PARAGRAPH_S, SENTENCE_S, passages

LIMIT_S = 4.0  # 80 letters, packed to 40
ENGLISH = (
    "Dr. Smith came home at 5 p.m. yesterday. He was tired! Was he hungry, too? He said: "
    '"Please open the window. It is hot." Nobody had heard him, so he went to the kitchen. '
)
CHINESE = "今天天气很好。我们出去走走吧！你想去哪里？他说：“你好。”然后走了。"


def texts(text: str, limit_s: float = LIMIT_S) -> list[str]:
    return [passage.text for passage in passages(text, limit_s)]


def letters(text: str) -> str:
    return "".join(character for character in text if character.isalnum())


@pytest.mark.parametrize("text", ["Hi", " Hello.  There \n", "x" * 80, "…", ENGLISH[:80]])
def test_a_text_that_can_be_spoken_in_one_go_is_left_as_it_is(text: str) -> None:
    (passage,) = passages(text, LIMIT_S)
    assert passage.text == text


def test_a_longer_text_is_cut_between_sentences() -> None:
    assert texts(ENGLISH) == [
        "Dr. Smith came home at 5 p.m. yesterday.",
        "He was tired! Was he hungry, too?",
        'He said: "Please open the window. It is hot."',
        "Nobody had heard him, so he went to the kitchen.",
    ]
    assert texts(CHINESE, 3.0) == [
        "今天天气很好。",
        "我们出去走走吧！",
        "你想去哪里？他说：“你好。”",  # eleven characters: 1.5 s
        "然后走了。",
    ]


def test_a_sentence_that_is_too_long_is_cut_between_clauses_then_between_words() -> None:
    clauses = "when it was late and it was dark, we all went home; " * 2
    assert texts(clauses, 5.0) == [
        "when it was late and it was dark, we all went home;",
        "when it was late and it was dark, we all went home;",
    ]
    assert texts(clauses, 2.4) == [
        "when it was late and it was dark,",
        "we all went home;",
        "when it was late and it was dark,",
        "we all went home;",
    ]
    words = texts("and on " * 40)
    assert len(words) > 5 and all(len(part) <= 40 for part in words)
    assert " ".join(words) == "and on " * 39 + "and on"
    assert "".join(texts("啊" * 100)) == "啊" * 100
    assert "".join(texts("x" * 1000)) == "x" * 1000
    assert "".join(texts("e\u0301" * 300)) == "e\u0301" * 300


@pytest.mark.parametrize(
    "text",
    [
        ENGLISH * 10,
        CHINESE * 20,
        "Please open the window. " * 171,
        "x" * 4096,
        "no stop and no end " * 200,
        "Headline\n\nFirst line\nsecond line\n\n" * 50,
        "สวัสดีครับ" * 100,
        "3.14159, " * 300,
        "— … — " * 500 + "Hello. " + "?!" * 2000 + " Good bye. " * 40,
    ],
    ids=lambda text: text[:10],
)
def test_nothing_is_lost_and_each_passage_can_be_spoken_in_one_go(text: str) -> None:
    parts = passages(text, LIMIT_S)
    assert letters("".join(part.text for part in parts)) == letters(text)
    assert all(letters(part.text) for part in parts)
    assert all(quickest_s(part.text) <= LIMIT_S and len(part.text) <= 80 for part in parts)


def test_short_sentences_are_packed_and_no_scrap_is_left_at_the_end() -> None:
    assert texts("I go. " * 16) == [("I go. " * count).strip() for count in (6, 6, 4)]
    assert texts("I see it all the time. " * 6 + "Yes.")[-1] == "I see it all the time. Yes."


def test_pauses_are_those_of_the_punctuation() -> None:
    assert pauses("It ends here.  ") == SENTENCE_S
    assert pauses("Does it “end?”) ") == SENTENCE_S
    assert pauses("到这里。") == SENTENCE_S
    assert pauses("A headline\n") == SENTENCE_S
    assert pauses("A paragraph.\n \n") == PARAGRAPH_S
    assert pauses("one clause; ") == CLAUSE_S
    assert pauses("first, ") == COMMA_S
    assert pauses("without any ") == 0


def pauses(ending: str) -> float:
    """The quiet after a passage that ends like that."""
    takes_s = max(quickest_s(ending), len(ending) / 20)
    first, *_ = passages(ending + "我" * 100, 2 * takes_s + 0.1)  # 0.17 s a character: none fits
    assert first.text == ending.strip()
    return first.pause_s


@pytest.mark.parametrize("hostile", [".", "\n", " ", "a ", ",", '"', "a\n", "😀", "(", "。", "1."])
def test_no_text_takes_long(hostile: str) -> None:
    text = (hostile * 20_000)[:20_000]
    begin_s = time.thread_time()
    passages(text, LIMIT_S)
    assert time.thread_time() - begin_s < 2.0  # linear: 0.2 s; quadratic: 20 s and more
