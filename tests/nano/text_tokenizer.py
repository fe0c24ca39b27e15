"""Nano's text tokens: a byte-level BPE in which a word of its English is one token.

One token each are: every word behind a space; every word that begins a sentence of the grammar,
capitalised and not; the phrases of the tasks' Chinese prompts; the words of the chat template. A
word that only a sentence of random words begins with takes two or three tokens there: one for each
would cost 600 rows that are seen a few times. The bytes write everything else.
"""

import json
import re
from functools import lru_cache

from tokenizers import models, pre_tokenizers, trainers

from deployments.messages import Role
from deployments.thinker import tasks
from serve_app.checkpoint.tokenizer import byte_level
from serve_app.checkpoint.vocabulary import Vocabulary, compact_vocabulary
from tests.nano.corpus.sentences import VOCABULARY, training_sentences

_SAMPLED_SENTENCES = 20_000  # in which every beginning of the grammar occurs
_PROMPTS = (
    tasks.TRANSCRIBE,
    tasks.SPEAK,
    *tasks.TRANSLATE.values(),
    *tasks.TRANSLATE_ALOUD.values(),
)


@lru_cache(maxsize=1)
def nano_vocabulary() -> Vocabulary:
    """The text tokens, then the special and the audio tokens. Always the same."""
    trainer = trainers.BpeTrainer(
        vocab_size=1 << 16,  # never reached: merging ends when every word is one token
        min_frequency=1,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer = byte_level(models.BPE())
    tokenizer.train_from_iterator(sorted(_words()), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    text = sorted(model["vocab"], key=model["vocab"].__getitem__)
    return compact_vocabulary(tuple(text), tuple((left, right) for left, right in model["merges"]))


def _words() -> set[str]:
    """What is one token, each with the space before it if there is one."""
    first, later = set(), {f" {word}" for word in VOCABULARY}
    for sentence in training_sentences(_SAMPLED_SENTENCES, seed=0, salad_share=0.0):
        beginning, *rest = re.findall(r" ?\w+", sentence)
        first |= {beginning, beginning.lower()}
        later |= set(rest)
    phrases = {phrase for prompt in _PROMPTS for phrase in re.findall(r"\w+|[，。]", prompt)}
    template = set(re.findall(r" ?\w+", tasks.CONVERSE)) | {
        role.value for role in (Role.SYSTEM, Role.HUMAN, Role.ASSISTANT)
    }
    return first | later | phrases | template
