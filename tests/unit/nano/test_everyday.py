"""Everyday sentences: their length, their sides, the lines of a corpus of conversations."""

import random
from pathlib import Path

from tests.nano.corpus.everyday import LONGEST_WORDS, conversation_lines, everyday_sentences, words
from tests.nano.corpus.kokoro import HELD_OUT, TRAINED, training_voice
from tests.nano.corpus.sentences import is_held_out


def test_sentences_are_the_same_for_a_seed_and_no_longer_than_twenty_words() -> None:
    sentences = everyday_sentences(300, seed=3)
    assert sentences == everyday_sentences(300, seed=3)
    lengths = {len(sentence.split()) for sentence in sentences}
    assert min(lengths) == 1
    assert max(lengths) <= LONGEST_WORDS
    assert max(lengths) > 12


def test_there_are_about_two_thousand_words() -> None:
    assert len(words()) > 2000


def test_no_sentence_of_training_is_held_out() -> None:
    taught = everyday_sentences(200, seed=0)
    tested = everyday_sentences(50, seed=0, held_out=True)
    alone = [s for s in taught if s.count(".") + s.count("?") + s.count("!") == 1]
    assert not any(is_held_out(sentence) for sentence in alone)
    assert not set(taught) & set(tested)


def test_only_lines_that_can_be_read_as_they_stand_are_taken(tmp_path: Path) -> None:
    (tmp_path / "talk.yml").write_text(
        "conversations:\n- - Good morning, how are you?\n  - I'm fine\n  - It costs $5.\n"
        "  - A line that is\n    folded.\n  - NASA\n",
        encoding="utf-8",
    )
    assert conversation_lines(tmp_path) == [
        "Good morning, how are you?",
        "I'm fine.",
        "A line that is folded.",
    ]


def test_no_voice_of_training_has_a_part_of_one_that_is_held_out() -> None:
    rng = random.Random(0)
    voices = [training_voice(rng) for _ in range(500)]
    used = {name for voice in voices for name, _ in voice.parts}
    assert used == set(TRAINED)
    assert not used & set(HELD_OUT)
    assert all(abs(sum(weight for _, weight in voice.parts) - 1) < 1e-9 for voice in voices)


def test_rare_words_stand_among_everyday_ones() -> None:
    said = everyday_sentences(200, 0, rare=["aardwolf"])
    share = sum("aardwolf" in sentence.lower() for sentence in said) / len(said)
    assert 0.02 < share < 0.25
    assert not any("aardwolf" in sentence.lower() for sentence in everyday_sentences(200, 0))
