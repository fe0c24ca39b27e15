"""The tokenizer's files: `tokenizer.json` and `tokenizer_config.json`, for plain AutoTokenizer."""

import json
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from serve_app.checkpoint.vocabulary import Vocabulary

# How Qwen2 cuts text into words before merging bytes within them.
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_PLAIN = ("<tool_call>", "</tool_call>", "<think>", "</think>")  # kept in decoded text, as in Qwen


def byte_level(model: models.BPE) -> Tokenizer:
    """A tokenizer that cuts text into words and bytes as Qwen2's does, and knows no added token."""
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def make_tokenizer(vocabulary: Vocabulary) -> Tokenizer:
    """The tokenizer of `vocabulary`."""
    ids = {token: vocabulary.ids[token] for token in vocabulary.text}
    tokenizer = byte_level(models.BPE(vocab=ids, merges=list(vocabulary.merges)))
    tokenizer.add_tokens(
        [
            AddedToken(token, normalized=False, special=token not in _PLAIN)
            for token in vocabulary.added
        ]
    )
    return tokenizer


def write_tokenizer(directory: Path, vocabulary: Vocabulary, *, max_tokens: int) -> None:
    """Write the tokenizer of `vocabulary` into `directory`."""
    tokenizer = make_tokenizer(vocabulary).to_str(pretty=False)
    (directory / "tokenizer.json").write_text(tokenizer, encoding="utf-8")
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|EOT|>",
        "pad_token": "<|endoftext|>",
        "model_max_length": max_tokens,
        "clean_up_tokenization_spaces": False,
    }
    text = json.dumps(settings, indent=2) + "\n"
    (directory / "tokenizer_config.json").write_text(text, encoding="utf-8")
