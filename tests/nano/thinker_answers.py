"""The Thinker's answers to many prompts at once, drawn as the server's engine draws them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import DynamicCache, Qwen2ForCausalLM

from tests.nano.corpus.store import Bank
from tests.nano.thinker_batches import Ear, Tables
from tests.nano.thinker_examples import Examples, Task
from tests.nano.thinker_model import Thinker
from tests.nano.training import device


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is drawn; a temperature of 0 takes the likeliest."""

    temperature: float = 0.0
    top_p: float = 1.0
    repetition_penalty: float = 1.05  # the server's default, for transcriptions too


SPEECH_SAMPLING = Sampling(temperature=0.7, top_p=0.9)


class Answerer:
    """Answers many prompts at once, on the device, as the server's engine would."""

    def __init__(self, model: Thinker, examples: Examples, speech: Bank) -> None:
        self._on = device()
        self._model = model
        self._examples = examples
        self._tables = Tables(examples, self._on)
        self._ear = Ear(speech)

    @torch.inference_mode()
    def answer(
        self,
        task: Task,
        sentences: Sequence[int],
        utterances: Sequence[int] = (),
        *,
        sampling: Sampling = Sampling(),  # frozen
        max_tokens: int = 256,
    ) -> list[list[int]]:
        """The answers' ids, each up to its `<|EOT|>`, without it."""
        batch = self._tables.batch(self._examples.asked(task, sentences, utterances))
        with torch.autocast(self._on.type, torch.bfloat16, enabled=self._on.type == "cuda"):
            embeddings = torch.zeros(0, device=self._on)
            if len(utterances):
                mels, frames = self._ear.hear(batch, roughly=False)
                embeddings = self._model.adapter(self._model.encoder(mels, frames))
            embedded = self._model.embed(batch, batch.token_ids, embeddings)
            end = self._examples.writer.special.turn_end
            return generated(
                self._model.language,
                embedded,
                batch.token_ids,
                batch.starts,
                end,
                sampling,
                max_tokens,
            )


def generated(
    language: Qwen2ForCausalLM,
    embedded: Tensor,
    token_ids: Tensor,
    starts: Tensor,
    end: int,
    sampling: Sampling,
    max_tokens: int,
) -> list[list[int]]:
    """Answers to prompts of different lengths, each up to `end`, without it.

    The prompts are moved to the right, so that all end together.

    Args:
        language: the decoder.
        embedded: [B, L, C] its inputs; each row's prompt comes first, the rest is no matter.
        token_ids: [B, L] what stands there, for the penalty on repetition.
        starts: [B] lengths of the prompts.
        end: the id that ends an answer.
        sampling: how the next token is drawn.
        max_tokens: of an answer.
    """
    on = embedded.device
    longest = int(starts.max())
    place = torch.arange(longest, device=on)
    begins = longest - starts[:, None]  # [B, 1]
    moved = (place - begins).clamp(min=0)
    inputs = embedded.gather(1, moved[..., None].expand(-1, -1, embedded.shape[2]))
    real = place >= begins  # [B, longest]
    vocabulary = language.config.vocab_size
    seen = torch.zeros(len(inputs), vocabulary + 1, dtype=torch.bool, device=on)
    seen.scatter_(1, torch.where(real, token_ids.gather(1, moved), vocabulary), True)

    causal = place[:, None] >= place  # [longest, longest]
    # A place before a prompt sees itself, so that no row of the attention is empty.
    mask = (causal & real[:, None, :]) | torch.eye(longest, dtype=torch.bool, device=on)
    cache = DynamicCache(config=language.config)
    positions, drawn = moved, []
    finished = torch.zeros(len(inputs), dtype=torch.bool, device=on)
    for step in range(max_tokens):
        hidden = language.model(
            inputs_embeds=inputs,
            attention_mask={"full_attention": mask[:, None]},
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state[:, -1]
        token = draw(language.lm_head(hidden).float(), seen[:, :vocabulary], sampling)
        drawn.append(token)
        seen.scatter_(1, token[:, None], True)
        finished |= token == end
        if step % 16 == 15 and bool(finished.all()):
            break
        inputs = language.model.embed_tokens(token[:, None])
        positions = starts[:, None] + step
        real = F.pad(real, (0, 1), value=True)
        mask = real[:, None, :]
    rows = torch.stack(drawn, 1).tolist()
    return [row[: row.index(end)] if end in row else row for row in rows]


def draw(logits: Tensor, seen: Tensor, sampling: Sampling) -> Tensor:
    """The next token of each row, as vLLM draws it.

    Args:
        logits: [B, vocabulary].
        seen: [B, vocabulary], true for what the prompt or the answer holds already.
        sampling: how.

    Returns:
        [B] int64.
    """
    penalty = sampling.repetition_penalty
    penalised = torch.where(logits > 0, logits / penalty, logits * penalty)
    logits = torch.where(seen, penalised, logits)
    if sampling.temperature == 0:
        return logits.argmax(-1)
    ordered, order = (logits / sampling.temperature).softmax(-1).sort(descending=True)
    ordered[ordered.cumsum(-1) - ordered >= sampling.top_p] = 0
    return order.gather(1, torch.multinomial(ordered, 1))[:, 0]
