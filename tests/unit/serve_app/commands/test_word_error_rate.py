import pytest

from serve_app.commands.word_error_rate import edit_distance, normalise, word_error_rate


@pytest.mark.parametrize(
    ("reference", "hypothesis", "errors"),
    [
        ("The dog is here.", "the dog is here", 0),
        ("The dog is here.", "The cat is here.", 1),
        ("The dog is here.", "The is here.", 1),
        ("The dog is here.", "The dog is not here.", 1),
        ("The dog is here.", "", 4),
        ("Yes, he ran home.", "yes he rang him home", 2),
        ("one two three", "two three one", 2),
    ],
)
def test_errors_of_one_sentence(reference: str, hypothesis: str, errors: int) -> None:
    words = len(reference.split())
    assert word_error_rate([reference], [hypothesis]) == pytest.approx(errors / words)


def test_rate_weighs_words_not_sentences() -> None:
    references = ["She sleeps.", "The old man walked to the river."]
    assert word_error_rate(references, ["He sleeps.", references[1]]) == pytest.approx(1 / 9)


def test_insertions_take_the_rate_above_one() -> None:
    assert word_error_rate(["Go home."], ["please do not go home now ok"]) == 2.5


def test_case_punctuation_and_spaces_do_not_count() -> None:
    assert normalise("YES  Emma?") == normalise("yes, Emma_!") == "yes emma"


def test_unequal_lengths_are_refused() -> None:
    with pytest.raises(ValueError):
        word_error_rate(["One.", "Two."], ["One."])


@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [("kitten", "sitting", 3), ("", "abc", 3), ("abc", "", 3), ("abc", "abc", 0)],
)
def test_edit_distance_counts_the_fewest_changes(one: str, other: str, distance: int) -> None:
    assert edit_distance(one, other) == distance
