"""A byte-level tokenizer of the family's shape, small enough to make in every test run."""

import sys
from types import ModuleType

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from deployments.thinker.tokens import AUDIO_CODES, NAMES, SpecialTokens, TextVocabulary
from tests.unit.deployments.thinker.stand_in_llm import Llm

# As in Qwen's tokenizers these are ordinary added tokens; all others are special ones.
ORDINARY = {"<tool_call>", "</tool_call>", "<think>", "</think>"}


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("h", "e"), ("l", "l"), ("he", "ll"), ("hell", "o"), ("Ċ", "Ċ")]  # Ċ is "\n"
    words = [*alphabet, *(left + right for left, right in merges)]
    vocabulary = {word: index for index, word in enumerate(words)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    marks = [name for field, name in NAMES.items() if field not in ("audio_first", "audio_pad")]
    codes = [f"<audio_{code}>" for code in range(AUDIO_CODES + 1)]
    added = ["<|endoftext|>", *marks, *codes]
    tokenizer.add_tokens([AddedToken(name, special=name not in ORDINARY) for name in added])
    return tokenizer


@pytest.fixture(scope="session")
def special(tokenizer: Tokenizer) -> SpecialTokens:
    return SpecialTokens.from_tokenizer(tokenizer)


@pytest.fixture(scope="session")
def vocabulary(tokenizer: Tokenizer) -> TextVocabulary:
    return TextVocabulary(tokenizer)


@pytest.fixture
def llm(monkeypatch: pytest.MonkeyPatch) -> Llm:
    """vLLM, of which nothing is imported."""
    preprocess = ModuleType("preprocess")
    preprocess.parse_model_prompt = lambda config, raw: raw  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm.renderers.inputs.preprocess", preprocess)
    for name in ("vllm", "vllm.renderers", "vllm.renderers.inputs"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    return Llm()
