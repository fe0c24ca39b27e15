"""Numbers, prices, times and years in words."""

import pytest

from tests.nano.corpus import readings


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "zero"),
        (13, "thirteen"),
        (40, "forty"),
        (342, "three hundred and forty-two"),
        (1000, "one thousand"),
        (5007, "five thousand and seven"),
        (21_450, "twenty-one thousand four hundred and fifty"),
    ],
)
def test_a_number_is_read_in_words(value: int, words: str) -> None:
    assert readings.number(value) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [(1, "first"), (12, "twelfth"), (20, "twentieth"), (21, "twenty-first"), (34, "thirty-fourth")],
)
def test_a_place_is_read_as_an_ordinal(value: int, words: str) -> None:
    assert readings.ordinal(value) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [(1984, "nineteen eighty-four"), (1900, "nineteen hundred"), (1805, "eighteen oh five"),
     (2007, "two thousand and seven"), (2026, "twenty twenty-six")],
)  # fmt: skip
def test_a_year_is_read_in_pairs(value: int, words: str) -> None:
    assert readings.year(value) == words


def test_prices_and_times_are_read_as_they_are_said() -> None:
    assert readings.price(4, 50) == "four dollars and fifty cents"
    assert readings.price(1, 0) == "one dollar"
    assert readings.price(0, 1) == "one cent"
    assert readings.clock(7, 45) == "seven forty-five"
    assert readings.clock(7, 5) == "seven oh five"
    assert readings.clock(12, 0) == "twelve o'clock"
