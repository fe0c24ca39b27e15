"""Which sentences of a text can be spoken before the next ones are written."""

import pytest

from serve_app.sound.growing_text import GrowingText, spoken_sentences

ENGLISH = (
    "Hello there. I met Dr. Smith, the U.S. envoy, at 3.30 p.m. on Friday. He paid $3.50 for it, "
    'e.g. for tea. Then he left! Wait... what? He said "Hi." Visit www.example.com. So v1.2.3 is'
)
SENTENCES = [
    "Hello there. ",
    "I met Dr. Smith, the U.S. envoy, at 3.30 p.m. on Friday. ",
    "He paid $3.50 for it, e.g. for tea. ",
    "Then he left! ",
    "Wait... what? ",
    'He said "Hi." ',
    "Visit www.example.com. ",
    "So v1.2.3 is",
]
CHINESE = "你好。今天很好！我们走吧？他说：“好的。”然后走了。\n第二段"


def taken(text: str, step: int, limit_s: float = 26.0) -> list[str]:
    """What is taken of a text that comes `step` characters at a time, and then its rest."""
    growing = GrowingText(limit_s)
    pieces = []
    for begin in range(0, len(text), step):
        growing.write(text[begin : begin + step])
        pieces += [piece] if (piece := growing.take()) else []
    return [*pieces, growing.rest()]


@pytest.mark.parametrize("step", [1, 3, 5])
def test_each_sentence_is_complete_when_the_next_begins(step: int) -> None:
    assert taken(ENGLISH, step) == SENTENCES


def test_chinese_sentences_are_complete_without_spaces() -> None:
    *sentences, rest = taken(CHINESE, 1)
    assert sentences[:2] == ["你好。", "今天很好！"]
    assert rest == "第二段"


@pytest.mark.parametrize("text", [ENGLISH, CHINESE, "", "…", "no stop at all", "One.\n\n\nTwo. "])
@pytest.mark.parametrize("step", [1, 7, 1000])
def test_nothing_is_lost_or_changed(text: str, step: int) -> None:
    assert "".join(taken(text, step)) == text


def test_a_text_that_comes_at_once_is_taken_up_to_its_last_sentence() -> None:
    assert taken(ENGLISH, 1000) == ["".join(SENTENCES[:-1]), SENTENCES[-1]]


def test_the_number_of_an_item_stays_with_its_text() -> None:
    text = "A list:\n1. First one.\n2. Second one.\nThat is all"
    assert taken(text, 1)[1:] == ["2. Second one.\n", "That is all"]


def test_a_sentence_that_is_too_long_is_taken_in_parts() -> None:
    text = "and so it goes on, word by word, " * 40
    first, *_, rest = taken(text, 20, limit_s=4.0)
    assert len(first) <= 80
    assert len(rest) <= 100


@pytest.mark.parametrize(
    ("sentences", "spoken"),
    [
        ("**Bold one. ", "Bold one. "),
        ("And two.** ", "And two. "),
        ("*All* of 2 * 3 is 6. ", "All of 2 * 3 is 6. "),
        ("2**3 is a power. ", "2**3 is a power. "),
        ("Fine. 🎉", "Fine."),
    ],
)
def test_marks_of_emphasis_are_not_spoken_though_their_partner_is_elsewhere(
    sentences: str, spoken: str
) -> None:
    assert spoken_sentences(sentences) == spoken
