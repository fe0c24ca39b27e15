"""What was heard is judged apart where a sentence holds a word that training never says."""

import pytest

from tests.nano.ears import known as known_words
from tests.nano.ears.known import parted, training_words


def test_a_sentence_with_one_unknown_word_counts_among_the_others() -> None:
    heard = {
        "v clean": [
            ("The dog.", "The dog."),
            ("The dog sleeps.", "The cat sleeps."),
            ("An aardwolf.", "An art."),
        ],
        "v opus": [("The dog.", "A dog.")],
    }
    figures = parted(heard, frozenset({"the", "dog", "sleeps", "an"}))
    assert figures["of_known_words"] == {"v clean": 0.2, "v opus": 0.5}
    assert figures["of_unknown_words"] == {"v clean": 0.5}


def test_words_of_lines_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_words, "_SENTENCES", 3000)
    lines = ["A zebu drinks.", "The okapi eats.", "Quaggas run.", "Narwhals swim."]
    known = training_words(lines)
    assert {"kitchen", "twenty"} <= known
    assert known & {"zebu", "okapi", "quaggas", "narwhals"}
