"""Random weights that speak by themselves, so that vLLM runs just as it serves.

A forced answer (`serve_app.bench.forced_speech`) needs a logits processor, and
vLLM 0.26 runs its older model runner where there is one. Here the weights themselves make the
shape of a spoken answer (TA4): every matrix is as big and as random as vLLM's dummy weights,
but the embedding of a token says, in one of its first dimensions, what kind of token it is, and
the row of a token in `lm_head` looks for the kind that comes before it. Dummy layers add
nothing to speak of to an embedding (their values are 1e-3), so what follows a token depends
on its kind alone:

    anything else → text → audio 0 → audio 1 → audio 2 → audio 3 → text → …

Audio tokens are of the kind that their id says modulo four. Which token of its kind comes next is
drawn among thousands of nearly the same probability; the answer ends at its `max_tokens`.

It is a load format, which a plugin of the benchmark makes known
(`tests/benchmarks/plugin_entry.py`).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

LOAD_FORMAT = "speaking"
TEXT, AUDIO, OTHER = 0, 1, 5  # kinds: text, the four places of audio (1 to 4), everything else
PLACES = 4
SURENESS = 30.0  # logit of a token that may follow; of the others it is about 0


def register() -> None:
    """Make the load format known to this process. May be called again."""
    from vllm.model_executor.model_loader import register_model_loader
    from vllm.model_executor.model_loader.dummy_loader import DummyModelLoader

    from serve_app.bench.forced_speech import read_tokenizer

    class SpeakingLoader(DummyModelLoader):
        def load_weights(self, model: nn.Module, model_config: Any) -> None:
            super().load_weights(model, model_config)
            special, text_ids = read_tokenizer(model_config)
            audio_ids = range(special.audio_first, special.audio_pad)
            make_speak(
                model.language_model, kinds_of(model_config.get_vocab_size(), text_ids, audio_ids)
            )

    register_model_loader(LOAD_FORMAT)(SpeakingLoader)


def kinds_of(vocab_size: int, text_ids: Sequence[int], audio_ids: range) -> Tensor:
    """The kind of every id: [vocab_size] int64."""
    kinds = torch.full((vocab_size,), OTHER)
    kinds[torch.tensor(text_ids)] = TEXT
    audio = torch.tensor(audio_ids)
    kinds[audio] = AUDIO + (audio - audio_ids.start) % PLACES
    return kinds


@torch.no_grad()
def make_speak(decoder: Any, kinds: Tensor) -> None:
    """Change `decoder`, vLLM's Qwen2 with dummy weights, or a shard of it, in place."""
    embedding, head = decoder.model.embed_tokens, decoder.lm_head
    decoder.model.norm.weight.fill_(1.0)
    hidden = embedding.weight.shape[1]
    own = _shard(embedding, kinds)
    rows = torch.arange(len(own), device=embedding.weight.device)
    embedding.weight[rows, own.to(rows.device)] = 1.0
    # The final norm makes √hidden of a vector whose only entry of size is 1.
    weight = SURENESS / hidden**0.5
    for kind in range(AUDIO + PLACES):
        rows = (_shard(head, kinds) == kind).nonzero().squeeze(1).to(head.weight.device)
        for before in _before(kind):
            head.weight[rows, before] = weight


def _before(kind: int) -> tuple[int, ...]:
    """Which kinds a token of `kind` follows."""
    return (AUDIO + PLACES - 1, OTHER) if kind == TEXT else (kind - 1,)


def _shard(layer: Any, kinds: Tensor) -> Tensor:
    """The kinds of the rows that this rank of a tensor-parallel group holds."""
    held = layer.shard_indices
    return kinds[held.org_vocab_start_index : held.org_vocab_end_index]
