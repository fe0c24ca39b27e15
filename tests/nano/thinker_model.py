"""Nano's Thinker as it is trained: what is served, and the help to hear that is not."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Qwen2ForCausalLM

from deployments.thinker.vllm_plugin.audio_encoder import Adapter, AudioEncoder
from deployments.thinker.vllm_plugin.hf_config import AudioEncoderConfig, StepAudio2Config
from serve_app.checkpoint.vocabulary import Vocabulary
from tests.nano.sizes import ACTIVE_DIGITS, CODE_LEVELS, THINKER_AUDIO, THINKER_TEXT
from tests.nano.text_tokenizer import nano_vocabulary
from tests.nano.thinker_batches import Batch


def nano_config(vocabulary: Vocabulary) -> StepAudio2Config:
    """The Thinker's sizes and ids."""
    return config_of(THINKER_TEXT, THINKER_AUDIO, vocabulary)


def config_of(
    text_sizes: Mapping[str, Any], audio_sizes: Mapping[str, Any], vocabulary: Vocabulary
) -> StepAudio2Config:
    """The configuration of a decoder and an encoder of these sizes, over `vocabulary`'s ids."""
    text = {
        **text_sizes,
        "vocab_size": vocabulary.size,
        "eos_token_id": vocabulary.eos_token_ids,
        "pad_token_id": vocabulary.ids["<|endoftext|>"],
        "rms_norm_eps": 1e-6,
        "rope_theta": 1_000_000.0,
        "torch_dtype": "bfloat16",
    }
    return StepAudio2Config(text_config=text, audio_encoder_config=dict(audio_sizes))


class Thinker(nn.Module):
    """The encoder and the adapter that are served, before transformers' Qwen2."""

    def __init__(self, config: StepAudio2Config) -> None:
        super().__init__()
        audio = config.audio_encoder_config
        self.encoder = AudioEncoder(audio)
        self.adapter = Adapter(audio)
        self.language = Qwen2ForCausalLM(config.text_config).float()
        # Help to hear, which is not served: each of the encoder's states tells the digits of the
        # code it stands at, and the embeddings spell the words (CTC, whose blank is the last).
        self.help = nn.ModuleDict(
            {
                "digits": nn.Linear(audio.n_audio_state, ACTIVE_DIGITS * CODE_LEVELS),
                "words": nn.Linear(audio.llm_dim, len(nano_vocabulary().text) + 1),
            }
        )
        # Whisper's positions: those that training never reaches are like those that it does.
        with torch.no_grad():
            self.encoder.positional_embedding.weight.copy_(sinusoids(audio))

    def embed(self, batch: Batch, token_ids: Tensor, embeddings: Tensor) -> Tensor:
        """The decoder's inputs: [B, L, C] of ids [B, L] and of speech [A, n, C], which stands at
        the first rows' `<audio_patch>` ids."""
        embedded = self.language.model.embed_tokens(token_ids)
        listening = len(embeddings)
        if not listening:
            return embedded
        nth = torch.arange(token_ids.shape[1], device=token_ids.device) - batch.patches[:, None]
        inside = (nth >= 0) & (nth < batch.embeddings[:, None])  # [A, L]
        picked = nth.clamp(0, embeddings.shape[1] - 1)[..., None].expand(-1, -1, embedded.shape[2])
        speech = embeddings.to(embedded.dtype).gather(1, picked)
        heard = torch.where(inside[..., None], speech, embedded[:listening])
        return torch.cat([heard, embedded[listening:]])

    def decode(self, embedded: Tensor) -> Tensor:
        """[B, L, C] → the last hidden states, [B, L, C]. Every row begins at place 0."""
        # A dictionary is taken as it is; None in it means causal, with no look at the device.
        masks = {"full_attention": None}
        return self.language.model(
            inputs_embeds=embedded, attention_mask=masks, use_cache=False
        ).last_hidden_state

    def published_weights(self) -> dict[str, Tensor]:
        """What is served, by the published names, in bfloat16 on the CPU."""
        return {
            name.removeprefix("language."): value.detach().to("cpu", torch.bfloat16).contiguous()
            for name, value in self.state_dict().items()
            if not name.startswith("help.")
        }

    def round_weights(self) -> None:
        """Make the weights those that are saved."""
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(parameter.bfloat16().float())


def sinusoids(config: AudioEncoderConfig) -> Tensor:
    """[positions, C]: sines, then cosines, of periods from 2π to 2π · 10000 positions."""
    half = config.n_audio_state // 2
    rates = 10_000 ** -(torch.arange(half) / (half - 1))
    angles = torch.arange(config.n_audio_ctx)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], 1)
