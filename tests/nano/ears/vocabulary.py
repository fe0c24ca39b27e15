"""Nano's text tokens for an open vocabulary: a byte-level BPE of subwords.

Frequent words are one token, all others a few, and the bytes write everything else.
"""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final

from tokenizers import models, pre_tokenizers, trainers

from deployments.messages import Role
from deployments.thinker import tasks
from serve_app.checkpoint.tokenizer import byte_level
from serve_app.checkpoint.vocabulary import Vocabulary, compact_vocabulary
from tests.nano.corpus.everyday import everyday_sentences, words

TEXT_TOKENS: Final = 2304  # bytes and merges
_SENTENCES: Final = 30_000
_PROMPTS_TIMES: Final = 300  # so often as if the prompts were said: they get tokens of their own


def trained_vocabulary(lines: Sequence[str]) -> Vocabulary:
    """Subwords of everyday sentences, `lines` of conversations among them; the same every time."""
    texts = everyday_sentences(_SENTENCES, seed=0, lines=lines)
    texts += [f" {word}" for word in words()]
    prompts = [tasks.TRANSCRIBE, tasks.SPEAK, tasks.CONVERSE]
    prompts += [*tasks.TRANSLATE.values(), *tasks.TRANSLATE_ALOUD.values()]
    prompts += [role.value for role in Role]
    trainer = trainers.BpeTrainer(
        vocab_size=TEXT_TOKENS,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer = byte_level(models.BPE())
    tokenizer.train_from_iterator([*texts, *prompts * _PROMPTS_TIMES], trainer)
    return _of(json.loads(tokenizer.to_str())["model"])


def save(vocabulary: Vocabulary, path: Path) -> None:
    """Write the text tokens and merges, which `load` reads."""
    values = {"text": vocabulary.text, "merges": vocabulary.merges}
    path.write_text(json.dumps(values), encoding="utf-8")


@cache
def load(path: Path) -> Vocabulary:
    """What `save` wrote."""
    values = json.loads(path.read_text(encoding="utf-8"))
    merges = tuple((left, right) for left, right in values["merges"])
    return compact_vocabulary(tuple(values["text"]), merges)


def _of(model: dict) -> Vocabulary:
    text = sorted(model["vocab"], key=model["vocab"].__getitem__)
    return compact_vocabulary(tuple(text), tuple((left, right) for left, right in model["merges"]))
