"""Errors on the sentences whose words all occur in the training, and on the others.

    python -m tests.nano.ears.known OUT/ears_check.json --lines MODELS/lines

adds `of_known_words` and `of_unknown_words` to the file. Some sentences that are held out hold
words that training never says: those of held-out lines of conversations, and some forms.
"""

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from serve_app.commands.word_error_rate import normalise, word_error_rate
from tests.nano.corpus.everyday import conversation_lines, everyday_sentences, words

_SENTENCES: Final = 60_000  # of training, in which a word must occur
_SEED: Final = 5

Heard = Mapping[str, Sequence[tuple[str, str]]]  # "af_bella clean" → what was said, and written


def training_words(lines: Sequence[str]) -> frozenset[str]:
    """Words of the list and of many sentences of training, without the dictionary's rare ones."""
    said = everyday_sentences(_SENTENCES, _SEED, lines)
    return frozenset(_words([*said, *words()]))


def parted(heard: Heard, known: frozenset[str]) -> dict[str, dict[str, float]]:
    """The word error rate of each entry's sentences of known words, and of its others."""
    figures: dict[str, dict[str, float]] = {"of_known_words": {}, "of_unknown_words": {}}
    for name, pairs in heard.items():
        for group, wanted in (("of_known_words", True), ("of_unknown_words", False)):
            chosen = [pair for pair in pairs if (set(_words([pair[0]])) <= known) == wanted]
            if chosen:
                said, written = zip(*chosen, strict=True)
                figures[group][name] = round(word_error_rate(said, written), 4)
    return figures


def _words(texts: Iterable[str]) -> list[str]:
    return [word for text in texts for word in normalise(text).split()]


def main() -> None:
    """Add the two groups to the report, and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path)
    parser.add_argument("--lines", type=Path, required=True)
    args = parser.parse_args()
    report = json.loads(args.report.read_text(encoding="utf-8"))
    figures = parted(report["heard"], training_words(conversation_lines(args.lines)))
    for name, values in figures.items():
        print(name, json.dumps(values))
    report = {key: value for key, value in report.items() if key != "heard"} | figures | {
        "heard": report["heard"]
    }  # fmt: skip
    args.report.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
